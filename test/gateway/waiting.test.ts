import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import type { GatewaySettings } from '../../spec/gateway.ts';
import { eventually } from '../support/eventually.ts';
import { ask, open } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { comesToRest, createWorld, type RunningGateway, type TestEndpoint, type World } from './world.ts';

const SSE = { accept: 'text/event-stream' };
const WISH = { ...SSE, 'x-hold-comments': '1' };

describe('gateway: what a held request is told', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream((req, res) => {
      if (req.url === '/422')
        res.writeHead(422, { 'content-type': 'application/json' }).end('{"detail":"no"}');
      else {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write('data: 1\n\n');
        res.end('data: [DONE]\n\n');
      }
    });
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });
  afterEach(() => comesToRest(gateway));

  async function asleep(gatewaySettings?: GatewaySettings): Promise<TestEndpoint> {
    const endpoint = await world.addEndpoint({
      state: 'scaledToZero',
      ...(gatewaySettings ? { gateway: gatewaySettings } : {}),
    });
    const quick = { 'x-scale-up-timeout': '0' };
    await eventually(
      'known',
      async () => (await ask(gateway.port, endpoint.path, { headers: quick })).status === 503,
    );
    return endpoint;
  }

  it('is a comment now and then for a reader of an event stream who asks for it, then the stream', async () => {
    const endpoint = await asleep();
    const first = ask(gateway.port, endpoint.path);
    await eventually('held', () => gateway.stats().held === 1);
    const { response } = open(gateway.port, endpoint.path, { headers: WISH });
    const message = await response;
    assert.deepEqual([message.statusCode, message.headers['content-type']], [200, 'text/event-stream']);
    assert.equal(gateway.stats().held, 2, 'the head came while it waits');
    await world.addReplica(endpoint, upstream.address);
    const body = await text(message);
    assert.match(body, /^: waiting state=scaledToZero position=2 waited=\d+\n\n/);
    assert.ok(body.endsWith('\n\ndata: 1\n\ndata: [DONE]\n\n'), body);
    const { status, headers } = await first;
    assert.deepEqual([status, headers['content-type']], [200, 'text/event-stream']);
    assert.ok(Number(headers['x-held-ms']) > 0);
    assert.ok(!upstream.requests.some((r) => 'x-hold-comments' in r.headers));
  });

  it('has the time a replica is likely to take, once one has started before', async () => {
    const endpoint = await asleep();
    await world.addStart(endpoint, { agoSeconds: 9000, tookSeconds: 4000 });
    await world.setState(endpoint, 'initializing');
    await eventually('known', async () => {
      const answer = await ask(gateway.port, endpoint.path, { headers: { 'x-scale-up-timeout': '0' } });
      return answer.headers['x-endpoint-wait-estimate'] === '4000';
    });
    const message = await open(gateway.port, endpoint.path, { headers: WISH }).response;
    await world.addReplica(endpoint, upstream.address);
    const [, estimate] =
      /^: waiting state=initializing position=1 waited=\d+ estimate=(\d+)\n\n/.exec(await text(message)) ??
      [];
    assert.ok(Number(estimate) > 3000 && Number(estimate) <= 4000, estimate);
  });

  it('is an error event when the engine’s answer is none, or the waiting is in vain', async () => {
    const endpoint = await asleep({ holdComments: true });
    const body = JSON.stringify({ messages: [{ content: 'say "stream": true' }], stream: true });
    const held = open(gateway.port, `${endpoint.path}/422`, { body });
    const message = await held.response;
    await world.addReplica(endpoint, upstream.address);
    assert.match(
      await text(message),
      /\n\nevent: error\ndata: \{"error":\{"message":"\{.*no.*,"code":422\}\}\n\n$/,
    );
    const other = await asleep({ holdComments: true });
    const inVain = await ask(gateway.port, other.path, { headers: { ...SSE, 'x-scale-up-timeout': '1.5' } });
    assert.equal(inVain.status, 200);
    assert.match(
      inVain.body,
      /event: error\ndata: \{"error":\{"message":".*no ready replica.*"type":"NOT_READY","code":503\}\}/,
    );
  });

  it('is nothing for those who did not ask, or who do not read event streams', async () => {
    const endpoint = await asleep();
    const own = await asleep({ holdComments: true });
    const cases = [
      [endpoint, SSE, undefined],
      [endpoint, { 'x-hold-comments': '1' }, '{"stream":false,"prompt":"{\\"stream\\": true}"}'],
      [own, { ...SSE, 'x-hold-comments': '0' }, undefined],
      [own, {}, '{}'],
    ] as const;
    for (const [to, headers, body] of cases) {
      const answer = await ask(gateway.port, to.path, {
        headers: { ...headers, 'x-scale-up-timeout': '1.3' },
        ...(body === undefined ? {} : { body }),
      });
      assert.equal(answer.status, 503, JSON.stringify(headers));
      assert.equal(answer.headers['x-queue-position'], '1');
      assert.equal(answer.headers['x-endpoint-state'], 'scaledToZero');
    }
  });

  it('is 503 for the newest of an endpoint that has more than its share, when another needs the room', async () => {
    const small = await world.startGateway({
      config: { maxHeldRequestsTotal: 4, maxHeldBytesTotal: 40_000 },
    });
    const [flood, calm] = [await asleep(), await asleep()];
    const quick = { 'x-scale-up-timeout': '0' };
    await eventually(
      'known',
      async () => (await ask(small.port, calm.path, { headers: quick })).status === 503,
    );
    const many: ReturnType<typeof ask>[] = [];
    for (let i = 1; i <= 4; i++) {
      many.push(ask(small.port, flood.path, { body: `${i}` }));
      await eventually('held', () => small.stats().held === i);
    }
    assert.equal((await ask(small.port, flood.path)).status, 503);
    const newcomers = [ask(small.port, calm.path), ask(small.port, calm.path)];
    const pushedOut = await Promise.all(many.slice(2));
    assert.deepEqual(pushedOut.map(({ status, headers }) => [status, headers['x-queue-position']]).sort(), [
      [503, '3'],
      [503, '4'],
    ]);
    await eventually('held', () => small.stats().held === 4);
    assert.equal((await ask(small.port, calm.path)).status, 503, 'more than its own share');
    await world.addReplica(flood, upstream.address);
    await world.addReplica(calm, upstream.address);
    for (const answer of await Promise.all([...many.slice(0, 2), ...newcomers]))
      assert.equal(answer.status, 200);
    const [big, other] = [await asleep(), await asleep()];
    await eventually(
      'known',
      async () => (await ask(small.port, other.path, { headers: quick })).status === 503,
    );
    const large = ask(small.port, big.path, { body: 'x'.repeat(30_000) });
    await eventually('held', () => small.stats().held === 1);
    const fair = ask(small.port, other.path, { body: 'x'.repeat(15_000) });
    assert.equal((await large).status, 503);
    await world.addReplica(other, upstream.address);
    assert.equal((await fair).status, 200);
    await comesToRest(small);
    await small.close();
  });
});
