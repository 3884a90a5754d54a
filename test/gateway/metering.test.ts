import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { quantile } from '../../spec/histogram.ts';
import {
  forgetUsage,
  reportUsage,
  type TokenUsage,
  usageByStatus,
  usageByToken,
  usageLoad,
} from '../../store/usage.ts';
import { eventually } from '../support/eventually.ts';
import { ask, bearer, open } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import {
  comesToRest,
  createWorld,
  type RunningGateway,
  seesRoutes,
  type TestEndpoint,
  type World,
} from './world.ts';

const USAGE =
  '"usage":{"prompt_tokens":12,"completion_tokens":30,"prompt_tokens_details":{"cached_tokens":4}}';

describe('gateway: metering', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream((req, res, body) => {
      if (req.url === '/chat')
        res.writeHead(200, { 'content-type': 'application/json' }).end(`{"choices":[],${USAGE}}`);
      else if (req.url === '/stream') {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write('data: {"choices":[{}],"usage":null}\n\n');
        setTimeout(() => {
          res.write(`data: {"choices":[],${USAGE}}\n\n`);
          res.end('data: [DONE]\n\n');
        }, 200);
      } else if (req.url === '/wait') setTimeout(() => res.end('late'), 600);
      else if (req.url === '/500') res.writeHead(500).end('no');
      else res.end(`got ${body.length}`);
    });
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });
  afterEach(() => comesToRest(gateway));

  async function served(options: Parameters<World['addEndpoint']>[0] = {}): Promise<TestEndpoint> {
    const endpoint = await world.addEndpoint(options);
    await world.addReplica(endpoint, upstream.address);
    await seesRoutes(world, gateway);
    return endpoint;
  }
  const span = () => ({ from: new Date(Date.now() - 3_600_000), to: new Date(Date.now() + 60_000) });
  const used = async (endpoint: TestEndpoint) => usageByToken(world.db.store, endpoint.id, span());
  /** The numbers once so many requests are in them. */
  async function after_(endpoint: TestEndpoint, requests: number): Promise<TokenUsage[]> {
    return eventually('told', async () => {
      const usage = await used(endpoint);
      return usage.reduce((sum, row) => sum + row.requests, 0) === requests && usage;
    });
  }

  it('counts requests by status, bytes and times, of each token by itself', async () => {
    const endpoint = await served({ type: 'private' });
    const tokens = [await world.token(), await world.token()] as const;
    await eventually('known', async () => {
      const statuses = await Promise.all(
        tokens.map((t) => ask(gateway.port, '/acme/nothing', { headers: bearer(t) })),
      );
      return statuses.every((a) => a.status === 404);
    });
    await eventually(
      'let in',
      async () =>
        (await ask(gateway.port, endpoint.path, { headers: bearer(tokens[0]), body: '12345' })).status ===
        200,
    );
    for (const path of ['/500', '/wait'])
      await ask(gateway.port, `${endpoint.path}${path}`, { headers: bearer(tokens[0]) });
    await ask(gateway.port, endpoint.path, { headers: bearer(tokens[1]), body: 'x'.repeat(1000) });
    assert.equal((await ask(gateway.port, endpoint.path)).status, 401);
    const usage = await after_(endpoint, 4);
    assert.equal(usage.length, 2);
    const [first, second] = usage as [TokenUsage, TokenUsage];
    assert.deepEqual(first.byStatus, { '200': 2, '500': 1 });
    assert.deepEqual(
      [first.requestBytes, first.responseBytes],
      [5, 'got 5'.length + 'no'.length + 'late'.length],
    );
    assert.ok(first.durationMs >= 590, `${first.durationMs}`);
    assert.equal(
      first.durations.reduce((a, b) => a + b),
      3,
    );
    assert.ok((quantile(first.durations, 1) ?? 0) >= 590);
    assert.deepEqual([second.byStatus, second.requestBytes], [{ '200': 1 }, 1000]);
    const ids = await world.db.store.selectFrom('tokens').select('id').execute();
    assert.ok(usage.every((row) => ids.some(({ id }) => id === row.tokenId) && row.tokenName === 't'));
  });

  it('reads the tokens from the end of an answer, streamed or not', async () => {
    const endpoint = await served();
    await ask(gateway.port, `${endpoint.path}/chat`, { body: '{}' });
    await ask(gateway.port, `${endpoint.path}/stream`, { body: '{}' });
    await ask(gateway.port, endpoint.path, { body: `{${USAGE}}` });
    const [usage] = await after_(endpoint, 3);
    assert.deepEqual([usage?.promptTokens, usage?.completionTokens], [24, 60]);
  });

  it('tells the first byte from the last one', async () => {
    const endpoint = await served();
    await ask(gateway.port, `${endpoint.path}/stream`, { body: '{}' });
    const [usage] = await after_(endpoint, 1);
    assert.ok(usage);
    assert.equal(
      usage.firstBytes.reduce((a, b) => a + b),
      1,
    );
    assert.ok(usage.durationMs - usage.firstByteMs >= 150, `${usage.firstByteMs} of ${usage.durationMs}`);
  });

  it('counts what waited, was refused after that, or left before its answer', async () => {
    const endpoint = await world.addEndpoint({ state: 'scaledToZero' });
    const inVain = { 'x-scale-up-timeout': '0.5' };
    const quick = { 'x-scale-up-timeout': '0' };
    await eventually(
      'known',
      async () => (await ask(gateway.port, endpoint.path, { headers: quick })).status === 503,
    );
    const answer = await ask(gateway.port, endpoint.path, { headers: inVain });
    assert.equal(answer.status, 503);
    const { req } = open(gateway.port, endpoint.path);
    await eventually('held', () => gateway.stats().held === 1);
    req.destroy();
    const [usage] = await eventually('told', async () => {
      const rows = await used(endpoint);
      return (rows[0]?.byStatus['0'] ?? 0) >= 1 && rows;
    });
    assert.ok((usage?.byStatus['503'] ?? 0) >= 1);
    const load = await usageLoad(world.db.store, endpoint.id, span(), 3600);
    const pendingMs = load.reduce((sum, { pending }) => sum + pending * 3_600_000, 0);
    assert.ok(pendingMs >= 490, `${pendingMs}`);
  });

  it('counts a WebSocket that an engine refused, and nothing twice', async () => {
    const endpoint = await served();
    const socket = connect(gateway.port, '127.0.0.1');
    socket.write(
      `GET ${endpoint.path}/500 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    );
    socket.resume();
    const [usage] = await after_(endpoint, 1);
    assert.deepEqual(usage?.byStatus, { '500': 1 });
    socket.destroy();
  });

  it('counts a batch that is told again once', async () => {
    const endpoint = await world.addEndpoint();
    const minute = Date.now() - (Date.now() % 60_000);
    const row = {
      endpointId: endpoint.id,
      namespace: 'acme',
      endpoint: endpoint.name,
      minute,
      tokenId: '',
      replicaId: '',
      status: 200,
      requests: 2,
      durationMs: 3,
      durations: [0, 2],
      firstByteMs: 2,
      firstBytes: [1, 1],
      requestBytes: 1,
      responseBytes: 1,
      promptTokens: 1,
      completionTokens: 1,
    };
    const batch = { gatewayId: 'g', batch: 1, usage: [row], load: [] };
    for (let i = 0; i < 3; i++) await reportUsage(world.db.store, batch);
    await reportUsage(world.db.store, { ...batch, batch: 2, usage: [{ ...row, durations: [1, 0, 1] }] });
    await reportUsage(world.db.store, batch);
    const [usage] = await used(endpoint);
    assert.deepEqual([usage?.requests, usage?.durations, usage?.firstBytes], [4, [1, 2, 1], [2, 2]]);
  });

  it('is exact when a gateway stops', async () => {
    const stopping = await world.startGateway();
    const endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    await seesRoutes(world, stopping);
    const statuses = await Promise.all(
      Array.from({ length: 150 }, async (_, i) => {
        const answer = await ask(stopping.port, `${endpoint.path}${i % 3 ? '' : '/chat'}`, { body: '{}' });
        return answer.status;
      }),
    );
    assert.ok(statuses.every((status) => status === 200));
    await stopping.close();
    const [usage] = await used(endpoint);
    assert.deepEqual([usage?.requests, usage?.promptTokens], [150, 50 * 12]);
  });

  it('forgets minutes that are older than the site keeps them, and no others', async () => {
    const endpoint = await served();
    await ask(gateway.port, endpoint.path);
    await after_(endpoint, 1);
    const { store } = world.db;
    assert.ok((await usageByStatus(store, endpoint.id, span(), 60)).length === 1);
    await forgetUsage(store, 1);
    assert.ok((await usageByStatus(store, endpoint.id, span(), 60)).length === 1);
    assert.ok((await forgetUsage(store, -1)) > 0);
    assert.deepEqual(await usageByStatus(store, endpoint.id, span(), 60), []);
  });
});
