import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../support/eventually.ts';
import { ask, bearer, open, receive } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import {
  comesToRest,
  createWorld,
  type RunningGateway,
  seesRoutes,
  type TestEndpoint,
  type World,
} from './world.ts';

describe('gateway: limits', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream((req, res, body) => {
      if (req.url === '/wait') setTimeout(() => res.end('late'), 400);
      else if (req.url === '/endless') {
        const more = () => {
          while (res.write(Buffer.alloc(65_536))) if (res.destroyed) return;
          res.once('drain', more);
        };
        more();
      } else res.end(String(body.length));
    });
    gateway = await world.startGateway({ config: { slowClientSeconds: 0.5, slowHeadSeconds: 1 } });
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });
  afterEach(() => comesToRest(gateway));

  async function limited(options: Parameters<World['addEndpoint']>[0], on = gateway): Promise<TestEndpoint> {
    const endpoint = await world.addEndpoint(options);
    await world.addReplica(endpoint, upstream.address);
    await seesRoutes(world, on);
    return endpoint;
  }

  it('lets so many requests through per minute, and says how many are left and when to come again', async () => {
    const endpoint = await limited({ gateway: { limits: { requestsPerMinute: 3 } } });
    for (const left of [2, 1, 0]) {
      const answer = await ask(gateway.port, endpoint.path);
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['ratelimit-policy'], '"endpoint-requests";q=3;w=60');
      assert.match(String(answer.headers.ratelimit), new RegExp(`^"endpoint-requests";r=${left};t=\\d+$`));
    }
    const refused = await ask(gateway.port, endpoint.path);
    assert.equal(refused.status, 429);
    const { code, error } = JSON.parse(refused.body);
    assert.equal(code, 'TOO_MANY_REQUESTS');
    assert.match(error, new RegExp(`endpoint acme/${endpoint.name} may use 3 requests per minute`));
    const retryAfter = Number(refused.headers['retry-after']);
    assert.ok(retryAfter > 10 && retryAfter <= 20, `${retryAfter}`);
    assert.match(String(refused.headers.ratelimit), /^"endpoint-requests";r=0;t=\d+$/);
    assert.equal(gateway.stats().pending, 0);
  });

  it('counts each token by itself, and refused requests not at all', async () => {
    const endpoint = await limited({ type: 'private', gateway: { tokenLimits: { requestsPerMinute: 2 } } });
    const tokens = [await world.token(), await world.token()] as const;
    await eventually('known', async () => {
      const { status } = await ask(gateway.port, `${endpoint.path}/x`, {
        headers: { ...bearer(tokens[1]), 'x-scale-up-timeout': 'no' },
      });
      return status === 400 && (await ask(gateway.port, endpoint.path)).status === 401;
    });
    for (const [token, expected] of [
      [tokens[0], [200, 200, 429]],
      [tokens[1], [200, 200, 429]],
    ] as const)
      for (const status of expected)
        assert.equal((await ask(gateway.port, endpoint.path, { headers: bearer(token) })).status, status);
  });

  it('counts each address by itself where there is no token', async () => {
    const behind = await world.startGateway({ config: { trustedProxies: ['127.0.0.0/8'] } });
    const endpoint = await limited({ gateway: { tokenLimits: { requestsPerMinute: 1 } } }, behind);
    const from = (address: string) =>
      ask(behind.port, endpoint.path, { headers: { 'x-forwarded-for': address } });
    for (const address of ['192.0.2.1', '2001:db8::1', 'spoofed, 192.0.2.2'])
      assert.deepEqual([(await from(address)).status, (await from(address)).status], [200, 429], address);
    await behind.close();
  });

  it('lets so many requests through at the same time, and the next one when one has ended', async () => {
    const endpoint = await limited({ gateway: { limits: { concurrentRequests: 2 } } });
    const slow = [ask(gateway.port, `${endpoint.path}/wait`), ask(gateway.port, `${endpoint.path}/wait`)];
    await eventually('two under way', () => gateway.stats().inFlight === 2);
    const refused = await ask(gateway.port, endpoint.path);
    assert.deepEqual([refused.status, refused.headers['retry-after']], [429, '1']);
    await Promise.all(slow);
    await eventually('free again', async () => (await ask(gateway.port, endpoint.path)).status === 200);
    const left = open(gateway.port, `${endpoint.path}/wait`);
    await eventually('one under way', () => gateway.stats().inFlight === 1);
    left.req.destroy();
    await comesToRest(gateway);
    assert.equal((await ask(gateway.port, endpoint.path)).status, 200);
  });

  it('takes no body larger than allowed, whether it says its length or not', async () => {
    const endpoint = await limited({ gateway: { limits: { maxBodyBytes: 150_000 } } });
    assert.equal((await ask(gateway.port, endpoint.path, { body: 'x'.repeat(150_000) })).status, 200);
    const before = upstream.requests.length;
    const said = await ask(gateway.port, endpoint.path, { body: 'x'.repeat(150_001) });
    assert.deepEqual([said.status, JSON.parse(said.body).code], [413, 'TOO_LARGE']);
    const chunked = { 'transfer-encoding': 'chunked' };
    assert.equal(
      (await ask(gateway.port, endpoint.path, { headers: chunked, body: 'x'.repeat(150_001) })).status,
      413,
    );
    await eventually('the engine has been told', () => gateway.stats().inFlight === 0);
    assert.equal(upstream.requests.length, before);
    assert.equal(
      (await ask(gateway.port, endpoint.path, { headers: chunked, body: 'x'.repeat(149_000) })).body,
      '149000',
    );
  });

  it('lets nobody in whose address is not on the list', async () => {
    const behind = await world.startGateway({ config: { trustedProxies: ['127.0.0.1', '10.0.0.0/8'] } });
    const endpoint = await limited({ gateway: { allowedIps: ['192.0.2.0/24', '2001:db8::/32'] } }, behind);
    const status = async (trail?: string) =>
      (await ask(behind.port, endpoint.path, trail ? { headers: { 'x-forwarded-for': trail } } : {})).status;
    assert.equal(await status('192.0.2.77'), 200);
    assert.equal(await status('2001:db8:5::1'), 200);
    assert.equal(await status('192.0.2.77, 10.1.2.3'), 200, 'a trusted proxy on the way');
    assert.equal(await status('198.51.100.1'), 403);
    assert.equal(await status('192.0.2.77, 198.51.100.1'), 403, 'a claim of the client');
    assert.equal(await status('nonsense'), 403);
    assert.equal(await status(), 403);
    const direct = await ask(gateway.port, endpoint.path, { headers: { 'x-forwarded-for': '192.0.2.77' } });
    assert.equal(direct.status, 403, 'nobody is trusted by this one');
    await behind.close();
  });

  it('takes the site’s limits where the owner says nothing, and the owner’s where there are some', async () => {
    const strict = await world.startGateway({ config: { defaults: { limits: { requestsPerMinute: 1 } } } });
    const plain = await limited({}, strict);
    const own = await limited({ gateway: { limits: { requestsPerMinute: 2 } } }, strict);
    const none = await limited({ gateway: { limits: { requestsPerMinute: null } } }, strict);
    const statuses = async (endpoint: TestEndpoint) => {
      const all: number[] = [];
      for (let i = 0; i < 3; i++) all.push((await ask(strict.port, endpoint.path)).status);
      return all;
    };
    assert.deepEqual(await statuses(plain), [200, 429, 429]);
    assert.deepEqual(await statuses(own), [200, 200, 429]);
    assert.deepEqual(await statuses(none), [200, 200, 200]);
    await strict.close();
  });

  it('follows a change of the limits, and what was used stays used', async () => {
    const endpoint = await limited({ gateway: { limits: { requestsPerMinute: 1 } } });
    assert.equal((await ask(gateway.port, endpoint.path)).status, 200);
    assert.equal((await ask(gateway.port, endpoint.path)).status, 429);
    await world.setGateway(endpoint, { limits: { requestsPerMinute: 2 } });
    await eventually('raised', async () => (await ask(gateway.port, endpoint.path)).status === 200);
    assert.equal((await ask(gateway.port, endpoint.path)).status, 429);
  });

  it('shares limits with the other gateways', async () => {
    const other = await world.startGateway();
    const endpoint = await limited({ gateway: { limits: { requestsPerMinute: 10, concurrentRequests: 4 } } });
    await seesRoutes(world, other);
    for (let i = 0; i < 8; i++) assert.equal((await ask(gateway.port, endpoint.path)).status, 200);
    // The first request makes the other one ask what has been used.
    assert.equal((await ask(other.port, endpoint.path)).status, 200);
    for (const port of [other.port, gateway.port]) {
      let passed = 0;
      await eventually('refused', async () => {
        await sleep(700);
        const { status } = await ask(port, endpoint.path);
        if (status === 200) passed += 1;
        return status === 429;
      });
      // Of 10 a minute 9 are used; some more come back while this waits.
      assert.ok(passed <= 4, `${passed} more`);
    }
    await other.close();
  });

  it('answers 408 when a body does not come to its end', async () => {
    const endpoint = await limited({});
    const socket = connect(gateway.port, '127.0.0.1');
    socket.write(`POST ${endpoint.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfive!`);
    const answer = await receive(socket);
    assert.match(answer, /^HTTP\/1\.1 408 [\s\S]*"code":"REQUEST_TIMEOUT"/);
  });

  it('cuts off a client that takes no more of its answer, and leaves one alone whose engine thinks', async () => {
    const endpoint = await limited({});
    const socket = connect(gateway.port, '127.0.0.1');
    socket.write(`GET ${endpoint.path}/endless HTTP/1.1\r\nHost: x\r\n\r\n`);
    const aborted = upstream.aborted;
    await eventually('under way', () => gateway.stats().inFlight === 1);
    await eventually('cut off', () => gateway.stats().inFlight === 0 && upstream.aborted === aborted + 1);
    socket.destroy();
    const thinking = await startUpstream((_req, res) => setTimeout(() => res.end('thought'), 1800));
    const slow = await world.addEndpoint();
    await world.addReplica(slow, thinking.address);
    await seesRoutes(world, gateway);
    assert.equal((await ask(gateway.port, slow.path)).body, 'thought');
    await thinking.close();
  });

  it('leaves a WebSocket alone that is silent', async () => {
    const endpoint = await limited({});
    upstream.server.on('upgrade', (_req, socket) => {
      socket.on('error', () => undefined);
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      setTimeout(() => socket.end('still here'), 1800);
    });
    const socket = connect(gateway.port, '127.0.0.1');
    socket.write(
      `GET ${endpoint.path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    );
    assert.match(await receive(socket), /^HTTP\/1\.1 101 [\s\S]*still here$/);
  });

  it('cuts off a client that does not come to the end of its head', async () => {
    const strict = await world.startGateway({ config: { slowHeadSeconds: 0.5 } });
    const socket = connect(strict.port, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nHost: ');
    assert.match(await receive(socket), /^HTTP\/1\.1 408 /);
    await strict.close();
  });
});
