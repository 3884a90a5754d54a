import assert from 'node:assert/strict';
import { eventually } from '../support/eventually.ts';
import { ask, open } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { comesToRest, createWorld, type RunningGateway, type TestEndpoint, type World } from './world.ts';

describe('gateway: hold and wake', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream();
    gateway = await world.startGateway({ config: { maxHeldRequests: 5, maxHeldBytes: 50_000 } });
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });
  afterEach(() => comesToRest(gateway));

  async function asleep(state: 'scaledToZero' | 'pending' | 'initializing' | 'updating' = 'scaledToZero') {
    const endpoint = await world.addEndpoint({ state });
    await eventually('known', async () => (await quick(endpoint)).status === 503);
    return endpoint;
  }
  const quick = (endpoint: TestEndpoint) =>
    ask(gateway.port, endpoint.path, { headers: { 'x-scale-up-timeout': '0' } });
  const wakesOf = (endpoint: TestEndpoint) => world.wakes.filter((name) => name === endpoint.name).length;

  it('holds requests of a sleeping endpoint, wakes it, and sends them on in their order', async () => {
    const endpoint = await asleep();
    const asked: Promise<{ status: number; body: string }>[] = [];
    for (let i = 0; i < 4; i++) {
      asked.push(ask(gateway.port, endpoint.path, { body: `${i}` }));
      await eventually('held', () => gateway.stats().held === i + 1);
    }
    assert.deepEqual([gateway.stats().pending, gateway.stats().inFlight], [4, 0]);
    assert.ok(wakesOf(endpoint) >= 1);
    await world.addReplica(endpoint, upstream.address);
    const answers = await Promise.all(asked);
    assert.deepEqual(
      answers.map((a) => a.status),
      [200, 200, 200, 200],
    );
    assert.deepEqual(
      upstream.requests.slice(-4).map((r) => r.body),
      ['0', '1', '2', '3'],
    );
  });

  it('holds in every state that may become ready', async () => {
    for (const state of ['pending', 'initializing', 'updating'] as const) {
      const endpoint = await asleep(state);
      const asked = ask(gateway.port, endpoint.path);
      await eventually('held', () => gateway.stats().held === 1);
      await world.addReplica(endpoint, upstream.address);
      assert.equal((await asked).status, 200, state);
    }
  });

  it('answers 503 with state and Retry-After when the time is over', async () => {
    const endpoint = await asleep();
    const began = performance.now();
    const answer = await ask(gateway.port, endpoint.path, { headers: { 'x-scale-up-timeout': '0.3' } });
    assert.ok(performance.now() - began >= 290);
    assert.equal(answer.status, 503);
    assert.equal(answer.headers['retry-after'], '5');
    assert.equal(answer.headers['x-endpoint-state'], 'scaledToZero');
    const body = JSON.parse(answer.body);
    assert.equal(body.code, 'NOT_READY');
    assert.equal(body.state, 'scaledToZero');
    assert.match(body.error, /X-Scale-Up-Timeout/);
  });

  it('says when it is likely to be served, by how long the last starts took and the present one has taken', async () => {
    const endpoint = await asleep();
    for (const tookSeconds of [30, 40, 900])
      await world.addStart(endpoint, { agoSeconds: 2000, tookSeconds });
    await world.setState(endpoint, 'initializing');
    const told = async () => {
      const { headers } = await quick(endpoint);
      return [headers['x-endpoint-wait-estimate'], headers['retry-after']];
    };
    await eventually('known', async () => (await told())[0] !== undefined);
    assert.deepEqual(await told(), ['40', '40']);
    const held = Array.from({ length: 5 }, () => ask(gateway.port, endpoint.path));
    await eventually('full', () => gateway.stats().held === 5);
    const refused = await ask(gateway.port, endpoint.path);
    assert.match(refused.body, /too many requests wait/);
    assert.equal(refused.headers['x-endpoint-wait-estimate'], '40');
    // So long under way that only the least that is ever said is left, however slow this test is.
    await world.addStart(endpoint, { agoSeconds: 35 });
    await world.setState(endpoint, 'pending');
    await eventually('counted down', async () => (await told())[0] === '8');
    assert.deepEqual(await told(), ['8', '8']);
    await world.addReplica(endpoint, upstream.address);
    for (const answer of await Promise.all(held)) {
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['x-endpoint-wait-estimate'], undefined);
    }
  });

  it('wakes but does not hold with X-Scale-Up-Timeout: 0', async () => {
    const endpoint = await world.addEndpoint({ state: 'scaledToZero' });
    await eventually('known', async () => (await quick(endpoint)).status === 503);
    assert.equal(wakesOf(endpoint), 1);
  });

  it('refuses a time that is not a number', async () => {
    const endpoint = await asleep();
    for (const value of ['soon', '-1', 'Infinity', ''])
      assert.equal(
        (await ask(gateway.port, endpoint.path, { headers: { 'x-scale-up-timeout': value } })).status,
        400,
        value,
      );
  });

  it('holds no longer than the site allows, whatever the caller says', async () => {
    const strict = await world.startGateway({ config: { maxHoldSeconds: 0.2 } });
    const endpoint = await asleep();
    const answer = await ask(strict.port, endpoint.path, { headers: { 'x-scale-up-timeout': '600' } });
    assert.equal(answer.status, 503);
    await strict.close();
  });

  it('holds no more requests than allowed, and none beyond the bytes allowed', async () => {
    const endpoint = await asleep();
    const held = Array.from({ length: 5 }, () => ask(gateway.port, endpoint.path));
    await eventually('full', () => gateway.stats().held === 5);
    const refused = await ask(gateway.port, endpoint.path);
    assert.equal(refused.status, 503);
    assert.match(JSON.parse(refused.body).error, /too many requests wait/);
    assert.equal(refused.headers['retry-after'], '5');
    const other = await asleep();
    const large = ask(gateway.port, other.path, { body: 'x'.repeat(40_000) });
    await eventually('one more held', () => gateway.stats().held === 6);
    assert.equal((await ask(gateway.port, other.path, { body: 'x'.repeat(20_000) })).status, 503);
    await world.addReplica(endpoint, upstream.address);
    await world.addReplica(other, upstream.address);
    for (const answer of await Promise.all([...held, large])) assert.equal(answer.status, 200);
  });

  it('lets a client that has left out of the queue, and makes room', async () => {
    const endpoint = await asleep();
    const clients = Array.from({ length: 5 }, () => open(gateway.port, endpoint.path));
    await eventually('full', () => gateway.stats().held === 5);
    for (const { req } of clients) req.destroy();
    await eventually('empty', () => gateway.stats().held === 0);
    const served = upstream.requests.length;
    await world.addReplica(endpoint, upstream.address);
    await eventually('served', async () => (await ask(gateway.port, endpoint.path)).status === 200);
    assert.equal(upstream.requests.length, served + 1);
  });

  it('ends the waiting when the endpoint is paused, fails or is deleted', async () => {
    const cases = [
      ['paused', 'paused', 400],
      ['failed', 'running', 503],
      ['running', 'deleted', 404],
    ] as const;
    for (const [state, phase, status] of cases) {
      const endpoint = await asleep();
      const asked = ask(gateway.port, endpoint.path);
      await eventually('held', () => gateway.stats().held === 1);
      await world.setState(endpoint, state, phase);
      assert.equal((await asked).status, status, state);
    }
  });

  it('wakes once for many requests, again when nothing happens, and not once it runs', async () => {
    const endpoint = await asleep();
    const asked = Array.from({ length: 5 }, () => ask(gateway.port, endpoint.path));
    await eventually('held', () => gateway.stats().held === 5);
    assert.equal(wakesOf(endpoint), 1);
    await eventually('reminded', () => wakesOf(endpoint) === 2);
    await world.addReplica(endpoint, upstream.address);
    await Promise.all(asked);
    const sent = wakesOf(endpoint);
    await ask(gateway.port, endpoint.path);
    assert.equal(wakesOf(endpoint), sent);
  });

  it('tries again to wake when the signal could not be delivered', async () => {
    let tries = 0;
    const shy = await world.startGateway({
      wake: async () => {
        tries += 1;
        throw new Error('Temporal is away');
      },
    });
    const endpoint = await asleep('initializing');
    const asked = ask(shy.port, endpoint.path);
    await eventually('tried twice', () => tries >= 2);
    await world.addReplica(endpoint, upstream.address);
    assert.equal((await asked).status, 200);
    await shy.close();
  });

  it('answers held requests with 503 when the gateway stops', async () => {
    const stopping = await world.startGateway();
    const endpoint = await asleep();
    const asked = ask(stopping.port, endpoint.path);
    await eventually('held', () => stopping.stats().held === 1);
    const closed = stopping.close();
    const answer = await asked;
    assert.equal(answer.status, 503);
    assert.match(JSON.parse(answer.body).error, /stopping/);
    await closed;
  });
});
