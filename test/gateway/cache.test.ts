import assert from 'node:assert/strict';
import { type CachedAnswer, ResponseCache } from '../../api/gateway/cache.ts';
import { eventually } from '../support/eventually.ts';
import { ask, bearer } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import {
  comesToRest,
  createWorld,
  type RunningGateway,
  seesRoutes,
  type TestEndpoint,
  type World,
} from './world.ts';

describe('gateway: response cache', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  before(async () => {
    world = await createWorld();
    let count = 0;
    upstream = await startUpstream((req, res) => {
      count += 1;
      const json = { 'content-type': 'application/json' };
      if (req.url === '/500') res.writeHead(500, json);
      else if (req.url === '/events') res.writeHead(200, { 'content-type': 'text/event-stream' });
      else if (req.url === '/cookie') res.writeHead(200, { ...json, 'set-cookie': 'a=b' });
      else if (req.url === '/large') res.writeHead(200, json).write('x'.repeat(1_100_000));
      else res.writeHead(200, { ...json, 'x-engine': 'yes', 'content-length': String(`${count}`.length) });
      res.end(`${count}`);
    });
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });
  afterEach(() => comesToRest(gateway));

  async function cached(options: Parameters<World['addEndpoint']>[0] = {}): Promise<TestEndpoint> {
    const endpoint = await world.addEndpoint({ cacheHttpResponses: true, ...options });
    await world.addReplica(endpoint, upstream.address);
    await seesRoutes(world, gateway);
    return endpoint;
  }
  const post = (endpoint: TestEndpoint, body: string, headers = {}, path = '') =>
    ask(gateway.port, `${endpoint.path}${path}`, {
      body,
      headers: { 'content-type': 'application/json', ...headers },
    });

  it('gives the same answer to the same request again, and says so', async () => {
    const endpoint = await cached();
    const first = await post(endpoint, '{"inputs":"a"}');
    const again = await post(endpoint, '{"inputs":"a"}');
    assert.deepEqual([first.headers['x-cache'], again.headers['x-cache']], ['MISS', 'HIT']);
    assert.deepEqual([again.status, again.body, again.headers['x-engine']], [200, first.body, 'yes']);
    assert.notEqual(again.headers['x-request-id'], first.headers['x-request-id']);
    assert.equal(again.headers['x-proxied-replica'], undefined);
  });

  it('takes another body, path, method or telling header for another request', async () => {
    const endpoint = await cached();
    const answers = [
      await post(endpoint, '{"inputs":"a"}'),
      await post(endpoint, '{"inputs":"b"}'),
      await post(endpoint, '{"inputs":"a"}', {}, '/other'),
      await post(endpoint, '{"inputs":"a"}', { accept: 'text/plain' }),
      await ask(gateway.port, endpoint.path),
    ];
    assert.equal(new Set(answers.map(({ body }) => body)).size, answers.length);
  });

  it('is passed by where the caller says so, and off where the owner does not want it', async () => {
    const endpoint = await cached();
    const first = await post(endpoint, '{}');
    const fresh = await post(endpoint, '{}', { 'x-use-cache': 'false' });
    assert.notEqual(fresh.body, first.body);
    assert.equal(fresh.headers['x-cache'], undefined);
    assert.equal(upstream.requests.at(-1)?.headers['x-use-cache'], undefined);
    assert.equal((await post(endpoint, '{}')).body, first.body);
    const off = await cached({ cacheHttpResponses: false });
    assert.notEqual((await post(off, '{}')).body, (await post(off, '{}')).body);
  });

  it('keeps no error, no stream, nothing that is for one caller, and nothing large', async () => {
    const endpoint = await cached();
    for (const path of ['/500', '/events', '/cookie', '/large']) {
      const [first, again] = [await post(endpoint, '{}', {}, path), await post(endpoint, '{}', {}, path)];
      assert.notEqual(first.body, again.body, path);
      assert.equal(again.headers['x-cache'], 'MISS', path);
    }
  });

  it('answers while the endpoint sleeps, without waking it', async () => {
    const endpoint = await cached();
    const first = await post(endpoint, '{}');
    await world.db.store.deleteFrom('routes').where('endpoint_id', '=', endpoint.id).execute();
    await world.setState(endpoint, 'scaledToZero');
    const quick = { 'x-scale-up-timeout': '0', 'x-use-cache': 'false' };
    await eventually('asleep', async () => (await post(endpoint, '{"b":1}', quick)).status === 503);
    const wakes = world.wakes.length;
    assert.equal((await post(endpoint, '{}')).body, first.body);
    assert.equal(world.wakes.length, wakes);
  });

  it('asks for the same token, and forgets with a new revision', async () => {
    const endpoint = await cached({ type: 'private' });
    const token = await world.token();
    const first = await eventually('let in', async () => {
      const answer = await post(endpoint, '{}', bearer(token));
      return answer.status === 200 && answer;
    });
    assert.equal((await post(endpoint, '{}')).status, 401);
    const { store } = world.db;
    await store.updateTable('endpoints').set({ revision: 2 }).where('id', '=', endpoint.id).execute();
    await world.setState(endpoint, 'updating');
    await eventually(
      'forgotten',
      async () => (await post(endpoint, '{}', bearer(token))).body !== first.body,
    );
  });

  it('holds no more than it may, drops what was not asked for longest, and what is an hour old', () => {
    const cache = new ResponseCache(10_000);
    const answer: CachedAnswer = { status: 200, headers: [], body: Buffer.alloc(1000) };
    for (let i = 0; i < 4; i++) cache.put(`${i}`, answer, 0);
    cache.get('0', 0);
    cache.put('4', answer, 0);
    assert.deepEqual(
      ['0', '1', '2', '3', '4'].map((key) => cache.get(key, 0) !== null),
      [true, false, true, true, true],
    );
    assert.ok(cache.get('0', 3_500_000));
    assert.ok(cache.get('0', 7_000_000), 'a hit begins the hour anew');
    assert.equal(cache.get('2', 3_600_001), null);
  });
});
