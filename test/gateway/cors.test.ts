import assert from 'node:assert/strict';
import { request } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { eventually } from '../support/eventually.ts';
import { ask, bearer } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, seesRoutes, type TestEndpoint, type World } from './world.ts';

const PAGE = 'https://app.example.org';

describe('gateway: web pages', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  const packed = gzipSync('hello');
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream((req, res) => {
      if (req.url === '/gzip') res.writeHead(200, { 'content-encoding': 'gzip' }).end(packed);
      else
        res
          .writeHead(200, { 'access-control-allow-origin': 'https://engine.example.org', vary: 'accept' })
          .end(req.method);
    });
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });

  async function served(options: Parameters<World['addEndpoint']>[0]): Promise<TestEndpoint> {
    const endpoint = await world.addEndpoint(options);
    await world.addReplica(endpoint, upstream.address);
    await seesRoutes(world, gateway);
    return endpoint;
  }
  const preflight = (endpoint: TestEndpoint, origin: string) =>
    ask(gateway.port, `${endpoint.path}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });

  it('of an origin on the list are let in, without a token when they ask whether they may', async () => {
    const endpoint = await served({ type: 'private', gateway: { cors: { origins: [PAGE] } } });
    const asked = await preflight(endpoint, PAGE);
    assert.equal(asked.status, 204);
    assert.equal(asked.headers['access-control-allow-origin'], PAGE);
    assert.equal(asked.headers['access-control-allow-methods'], 'POST');
    assert.equal(asked.headers['access-control-allow-headers'], 'authorization,content-type');
    assert.equal(upstream.requests.length, 0);
    const refused = await ask(gateway.port, endpoint.path, { headers: { origin: PAGE } });
    assert.deepEqual([refused.status, refused.headers['access-control-allow-origin']], [401, PAGE]);
    const token = await world.token();
    const answer = await eventually('let in', async () => {
      const got = await ask(gateway.port, endpoint.path, { headers: { ...bearer(token), origin: PAGE } });
      return got.status === 200 && got;
    });
    assert.equal(answer.headers['access-control-allow-origin'], PAGE);
    assert.equal(answer.headers.vary?.includes('origin'), true);
  });

  it('of other origins are not', async () => {
    const endpoint = await served({ gateway: { cors: { origins: [PAGE] } } });
    for (const answer of [
      await preflight(endpoint, 'https://evil.example.org'),
      await ask(gateway.port, endpoint.path, { headers: { origin: 'https://evil.example.org' } }),
    ]) {
      assert.equal(answer.headers['access-control-allow-origin'], undefined);
      assert.match(String(answer.headers.vary), /origin/);
    }
  });

  it('of any origin are let in with *, and the engine’s word counts where the owner says nothing', async () => {
    const open = await served({ gateway: { cors: { origins: ['*'] } } });
    assert.equal(
      (await preflight(open, 'https://x.example.org')).headers['access-control-allow-origin'],
      '*',
    );
    const silent = await served({});
    const answer = await preflight(silent, PAGE);
    assert.deepEqual(
      [answer.status, answer.body, answer.headers['access-control-allow-origin']],
      [200, 'OPTIONS', 'https://engine.example.org'],
    );
  });

  it('and others get packed answers as they are', async () => {
    const endpoint = await served({ gateway: { cors: { origins: [PAGE] } } });
    const body = await new Promise<Buffer>((resolve, reject) => {
      request(
        {
          host: '127.0.0.1',
          port: gateway.port,
          path: `${endpoint.path}/gzip`,
          headers: { 'accept-encoding': 'gzip' },
        },
        (res) => {
          assert.equal(res.headers['content-encoding'], 'gzip');
          buffer(res).then(resolve, reject);
        },
      ).end();
    });
    assert.deepEqual(body, packed);
    assert.equal(upstream.requests.at(-1)?.headers['accept-encoding'], 'gzip');
  });
});
