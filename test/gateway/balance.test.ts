import assert from 'node:assert/strict';
import fc from 'fast-check';
import { pick } from '../../api/gateway/balance.ts';
import { eventually } from '../support/eventually.ts';
import { ask } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, seesRoutes, type World } from './world.ts';

const NOW = 1_000_000;
const replica = (inFlight: number, rest: object = {}) => ({
  ...{ inFlight, elsewhere: 0, aside: false, ejectedUntil: 0, newSince: 0 },
  ...rest,
});

describe('gateway: which replica', () => {
  it('is the one with the fewest requests, and each of several such in turn', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3), { minLength: 1, maxLength: 6 }), (loads) => {
        const targets = loads.map((inFlight) => replica(inFlight));
        const least = targets.filter(({ inFlight }) => inFlight === Math.min(...loads));
        const chosen = new Set(loads.map((_, turn) => pick(targets, null, turn, NOW)));
        assert.deepEqual(chosen, new Set(least));
      }),
    );
  });

  it('is a new one for one request in its first second, twice as many in each later one', () => {
    const warm = replica(50);
    for (const [ageMs, limit] of [
      [0, 1],
      [999, 1],
      [1000, 2],
      [3500, 8],
      [5000, 32],
    ] as const) {
      const fresh = replica(limit - 1, { newSince: NOW - ageMs });
      assert.equal(pick([warm, fresh], null, 0, NOW), fresh);
      fresh.inFlight = limit;
      assert.equal(pick([warm, fresh], null, 0, NOW), warm);
    }
    assert.equal(pick([warm, replica(49, { newSince: NOW - 10_000 })], null, 0, NOW)?.inFlight, 49);
  });

  it('is a new one all the same when there are no others', () => {
    const [one, other] = [replica(4, { newSince: NOW }), replica(3, { newSince: NOW })];
    assert.equal(pick([one, other], null, 0, NOW), other);
    assert.equal(pick([one, other], other, 0, NOW), one);
    assert.equal(pick([replica(9, { aside: true }), one], null, 0, NOW), one);
  });

  it('is none that takes no connections, and one that answers with errors only when there is no other', () => {
    const ejected = replica(0, { ejectedUntil: NOW + 1 });
    assert.equal(pick([replica(9, { aside: true })], null, 0, NOW), null);
    assert.equal(pick([ejected, replica(9)], null, 0, NOW)?.inFlight, 9);
    assert.equal(pick([ejected], null, 0, NOW), ejected);
    assert.equal(pick([ejected], null, 0, NOW + 1), ejected);
  });
});

describe('gateway: which replica, beside other gateways', () => {
  it('counts what others have on it', () => {
    const targets = [replica(1, { elsewhere: 3 }), replica(2)];
    assert.equal(pick(targets, null, 0, NOW), targets[1]);
  });

  it('is the less loaded of two drawn, each pair as likely as any other', () => {
    const targets = [5, 4, 3, 2].map((inFlight) => replica(inFlight));
    const chosen = new Map<number, number>();
    for (let a = 0; a < 4; a += 1)
      for (let b = 0; b < 3; b += 1) {
        const draws = [a / 4, b / 3];
        const target = pick(targets, null, 0, NOW, () => draws.shift() ?? 0);
        chosen.set(target?.inFlight ?? -1, (chosen.get(target?.inFlight ?? -1) ?? 0) + 1);
      }
    // Of the six pairs the least loaded is in three, the next best in two others, and the worst wins none.
    assert.deepEqual(
      [2, 3, 4, 5].map((load) => chosen.get(load) ?? 0),
      [6, 4, 2, 0],
    );
  });

  it('is drawn among the best rank alone, never the one to avoid', () => {
    const targets = [replica(0, { ejectedUntil: NOW + 1 }), replica(7), replica(8), replica(9), replica(1)];
    for (let i = 0; i < 100; i += 1) {
      const target = pick(targets, targets[4] ?? null, i, NOW, Math.random);
      assert.ok(target === targets[1] || target === targets[2]);
    }
  });
});

describe('gateway: two gateways on one store', () => {
  let world: World;
  let upstreams: Upstream[];
  before(async () => {
    world = await createWorld();
  });
  after(async () => {
    await world.close();
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });

  it('know what the other has in flight, and avoid it', async () => {
    const waiting: (() => void)[] = [];
    upstreams = await Promise.all(
      [0, 1].map(() =>
        startUpstream((req, res) => {
          if (req.url === '/wait') waiting.push(() => res.end());
          else res.end();
        }),
      ),
    );
    const [first, second] = upstreams;
    const endpoint = await world.addEndpoint();
    const busy = await world.addReplica(endpoint, first?.address ?? '');
    const [one, other] = [await world.startGateway(), await world.startGateway()];
    const held = Array.from({ length: 5 }, () => ask(one.port, `${endpoint.path}/wait`));
    await eventually('under way', () => waiting.length === 5);
    const free = await world.addReplica(endpoint, second?.address ?? '');
    for (const gateway of [one, other]) await seesRoutes(world, gateway);
    // The other gateway hears it with its next report, at most a second after a request of its own.
    await eventually('the busy replica is avoided', async () => {
      const answers: unknown[] = [];
      for (let i = 0; i < 10; i += 1)
        answers.push((await ask(other.port, endpoint.path)).headers['x-proxied-replica']);
      return !answers.includes(busy) && answers.includes(free);
    });
    for (const end of waiting) end();
    await Promise.all(held);
    await eventually('and used again', async () => {
      return (await ask(other.port, endpoint.path)).headers['x-proxied-replica'] === busy;
    });
  });
});

describe('gateway: replicas that fail, prompts and sessions', () => {
  let world: World;
  let gateway: RunningGateway;
  const upstreams: Upstream[] = [];
  before(async () => {
    world = await createWorld();
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });

  /** An endpoint with replicas that answer with these statuses. */
  async function endpointOf(statuses: readonly number[], loadBalancer?: string) {
    const endpoint = await world.addEndpoint(loadBalancer ? { loadBalancer } : {});
    const mine: Upstream[] = [];
    for (const status of statuses) {
      const upstream = await startUpstream((_req, res) => res.writeHead(status).end('{}'));
      mine.push(upstream);
      await world.addReplica(endpoint, upstream.address);
    }
    upstreams.push(...mine);
    await seesRoutes(world, gateway);
    return { ...endpoint, requests: () => mine.map((upstream) => upstream.requests.length) };
  }

  const chat = (content: string) => ({
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content }] }),
  });

  it('leaves alone a replica that answers with errors again and again', async () => {
    const endpoint = await endpointOf([500, 200]);
    const statuses: number[] = [];
    for (let i = 0; i < 40; i += 1) statuses.push((await ask(gateway.port, endpoint.path)).status);
    assert.equal(statuses.filter((status) => status === 500).length, 5);
    assert.deepEqual(endpoint.requests(), [5, 35]);
  });

  it('still asks the only replica there is, whatever it answers', async () => {
    const endpoint = await endpointOf([500]);
    for (let i = 0; i < 8; i += 1) assert.equal((await ask(gateway.port, endpoint.path)).status, 500);
    assert.deepEqual(endpoint.requests(), [8]);
  });

  it('sends prompts that begin alike to one replica where the endpoint asks for it', async () => {
    const endpoint = await endpointOf([200, 200, 200], 'prefix');
    for (let i = 0; i < 9; i += 1)
      await ask(
        gateway.port,
        `${endpoint.path}/v1/chat/completions`,
        chat('once upon a time '.repeat(40) + i),
      );
    assert.deepEqual(endpoint.requests().sort(), [0, 0, 9]);
  });

  it('takes turns where it does not, and for values nobody knows', async () => {
    for (const loadBalancer of [undefined, 'leastInFlight', 'no-such-thing']) {
      const endpoint = await endpointOf([200, 200, 200], loadBalancer);
      for (let i = 0; i < 9; i += 1)
        await ask(gateway.port, endpoint.path, chat('once upon a time '.repeat(40) + i));
      assert.deepEqual(endpoint.requests(), [3, 3, 3]);
    }
  });

  it('keeps a session on one replica, whatever is asked in it', async () => {
    const endpoint = await endpointOf([200, 200, 200], 'prefix');
    for (let i = 0; i < 9; i += 1)
      await ask(gateway.port, endpoint.path, { headers: { 'x-session-id': 'ada/7' } });
    assert.deepEqual(endpoint.requests().sort(), [0, 0, 9]);
  });

  it('follows a change of the setting at once', async () => {
    const endpoint = await endpointOf([200, 200], 'prefix');
    const session = { headers: { 'x-session-id': 's' } };
    for (let i = 0; i < 4; i += 1) await ask(gateway.port, endpoint.path, session);
    assert.deepEqual(endpoint.requests().sort(), [0, 4]);
    await world.setLoadBalancer(endpoint, 'leastInFlight');
    for (let i = 0; i < 40 && endpoint.requests().includes(0); i += 1) {
      await ask(gateway.port, endpoint.path, session);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.ok(!endpoint.requests().includes(0), String(endpoint.requests()));
  });
});
