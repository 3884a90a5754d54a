import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import fc from 'fast-check';
import { pickBySession, sessionOf } from '../../api/gateway/session.ts';
import { gatewaySettings } from '../../spec/gateway.ts';
import { ask } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, seesRoutes, type World } from './world.ts';

const NOW = 1_000_000;
const replica = (replicaId: string, rest: object = {}) => ({
  ...{ replicaId, inFlight: 0, elsewhere: 0, aside: false, ejectedUntil: 0, newSince: 0 },
  ...rest,
});
const replicas = (count: number) =>
  Array.from({ length: count }, (_, i) => replica(`0f8fad5b-d9cb-469f-a165-70867728950e-${i + 1}`));
const choose = (targets: ReturnType<typeof replicas>, session: string, turn = 0) =>
  pickBySession(targets, session, null, turn, NOW)?.replicaId;
const request = (headers: Record<string, string>) => ({ headers, socket: {} }) as unknown as IncomingMessage;

describe('gateway: session affinity', () => {
  it('leads a session to one replica whoever chooses, and spreads sessions evenly', () => {
    const [here, there] = [replicas(4), replicas(4).reverse()];
    const counts = new Map<string, number>();
    for (let i = 0; i < 4000; i += 1) {
      const chosen = choose(here, `session-${i}`, i) ?? '';
      assert.equal(choose(there, `session-${i}`, i * 7), chosen);
      counts.set(chosen, (counts.get(chosen) ?? 0) + 1);
    }
    assert.equal(counts.size, 4);
    for (const count of counts.values()) assert.ok(count > 850 && count < 1150, `${count} of 4000`);
  });

  it('moves only the sessions of a replica that goes', () => {
    const four = replicas(4);
    const [gone, ...three] = four;
    fc.assert(
      fc.property(fc.string(), (session) => {
        const before = choose(four, session);
        if (before !== gone?.replicaId) assert.equal(choose(three, session), before);
      }),
    );
  });

  it('gives way while the replica is much busier than another or not to be had, and comes back', () => {
    const two = replicas(2);
    const home = two.find(({ replicaId }) => replicaId === choose(two, 's'));
    assert.ok(home);
    home.inFlight = 3;
    assert.equal(choose(two, 's'), home.replicaId);
    home.elsewhere = 1;
    assert.notEqual(choose(two, 's'), home.replicaId);
    home.inFlight = 0;
    assert.equal(choose(two, 's'), home.replicaId);
    home.ejectedUntil = NOW + 1;
    assert.notEqual(choose(two, 's'), home.replicaId);
  });

  it('goes by the header where there is one, else by the cookie, and begins a session where there is neither', () => {
    const both = { header: 'X-Chat', cookie: 'sid' };
    const of = (headers: Record<string, string>) => sessionOf(request(headers), both, () => 'new');
    assert.deepEqual(of({ 'x-chat': 'h', cookie: 'sid=c' }), { id: 'h', cookie: null });
    assert.deepEqual(of({ cookie: 'a=b; sid=c; d' }), { id: 'c', cookie: null });
    assert.deepEqual(of({ cookie: 'xsid=c; sid=' }), {
      id: 'new',
      cookie: 'sid=new; Path=/; HttpOnly; SameSite=Lax',
    });
    assert.match(of({ 'x-forwarded-proto': 'https' }).cookie ?? '', /; Secure$/);
    assert.deepEqual(sessionOf(request({}), { header: 'x-chat' }), { id: null, cookie: null });
  });

  it('is refused with a name that would break a header', () => {
    for (const session of [{}, { cookie: 'a=b' }, { cookie: 'a\r\nb' }, { header: '' }])
      assert.equal(gatewaySettings.safeParse({ session }).success, false);
    assert.equal(gatewaySettings.safeParse({ session: { cookie: 'sid' } }).success, true);
  });
});

describe('gateway: session affinity of an endpoint', () => {
  let world: World;
  const gateways: RunningGateway[] = [];
  const upstreams: Upstream[] = [];
  before(async () => {
    world = await createWorld();
    gateways.push(await world.startGateway(), await world.startGateway());
  });
  after(async () => {
    await world.close();
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });

  it('holds across gateways by a cookie that the first answer sets, where the endpoint asks for it', async () => {
    const endpoint = await world.addEndpoint({ gateway: { session: { cookie: 'sid' } } });
    const plain = await world.addEndpoint();
    for (let i = 0; i < 3; i += 1) {
      const upstream = await startUpstream((_req, res) => res.end('ok'));
      upstreams.push(upstream);
      await world.addReplica(endpoint, upstream.address);
      await world.addReplica(plain, upstream.address);
    }
    for (const gateway of gateways) await seesRoutes(world, gateway);
    const [one, other] = gateways.map(({ port }) => port);
    const first = await ask(one ?? 0, endpoint.path);
    const cookie = first.headers['set-cookie']?.[0]?.split(';')[0];
    assert.match(cookie ?? '', /^sid=[\w-]{36}$/);
    for (let i = 0; i < 6; i += 1) {
      const answer = await ask((i % 2 ? one : other) ?? 0, endpoint.path, { headers: { cookie } });
      assert.equal(answer.headers['x-proxied-replica'], first.headers['x-proxied-replica']);
      assert.equal(answer.headers['set-cookie'], undefined);
    }
    assert.equal((await ask(one ?? 0, plain.path)).headers['set-cookie'], undefined);
  });
});
