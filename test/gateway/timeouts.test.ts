import assert from 'node:assert/strict';
import type { GatewaySettings } from '../../spec/gateway.ts';
import { eventually } from '../support/eventually.ts';
import { ask, open } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import {
  comesToRest,
  createWorld,
  type RunningGateway,
  seesRoutes,
  type TestEndpoint,
  type World,
} from './world.ts';

describe('gateway: time limits of an endpoint', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream((req, res) => {
      const type = req.url === '/events' ? 'text/event-stream' : 'text/plain';
      if (req.url === '/never') return;
      res.writeHead(200, { 'content-type': type });
      res.write('data: 1\n\n');
      if (req.url === '/steady') {
        let parts = 0;
        const timer = setInterval(() => {
          parts += 1;
          if (parts < 8) res.write('more');
          else res.end('end');
          if (parts >= 8) clearInterval(timer);
        }, 150);
        res.on('close', () => clearInterval(timer));
      }
    });
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });
  afterEach(() => comesToRest(gateway));

  async function served(timeouts: GatewaySettings['timeouts']): Promise<TestEndpoint> {
    const endpoint = await world.addEndpoint({ gateway: { timeouts } });
    await world.addReplica(endpoint, upstream.address);
    await seesRoutes(world, gateway);
    return endpoint;
  }
  async function aborts(path: string): Promise<ReturnType<typeof ask>> {
    const before = upstream.aborted;
    const answer = await ask(gateway.port, path);
    await eventually('the engine was told', () => upstream.aborted === before + 1);
    return answer;
  }

  it('answer 504 when the first byte does not come in time, and stop the engine', async () => {
    const endpoint = await served({ firstByteSeconds: 0.3 });
    const answer = await aborts(`${endpoint.path}/never`);
    assert.equal(answer.status, 504);
    const { code, error } = JSON.parse(answer.body);
    assert.equal(code, 'TIMEOUT');
    assert.match(error, /the answer had not begun within 0\.3 s/);
    assert.equal((await ask(gateway.port, `${endpoint.path}/steady`)).status, 200);
  });

  it('cut an answer off that stops in the middle, an event stream with an error event', async () => {
    const endpoint = await served({ idleSeconds: 0.4 });
    await assert.rejects(ask(gateway.port, `${endpoint.path}/stops`));
    const { req, response } = open(gateway.port, `${endpoint.path}/events`);
    const message = await response;
    let body = '';
    message.on('data', (chunk) => {
      body += chunk;
    });
    message.on('error', () => undefined);
    await eventually('an error event', () =>
      /event: error\ndata: .*no further part of the answer/.test(body),
    );
    req.destroy();
    assert.match((await ask(gateway.port, `${endpoint.path}/steady`)).body, /end$/, 'slow but steady');
  });

  it('hold for the whole request, waiting for a replica included', async () => {
    const endpoint = await served({ totalSeconds: 0.6 });
    await assert.rejects(ask(gateway.port, `${endpoint.path}/steady`));
    const sleeping = await world.addEndpoint({
      state: 'scaledToZero',
      gateway: { timeouts: { totalSeconds: 0.5 } },
    });
    const quick = { 'x-scale-up-timeout': '0' };
    await eventually(
      'known',
      async () => (await ask(gateway.port, sleeping.path, { headers: quick })).status === 503,
    );
    assert.equal((await ask(gateway.port, sleeping.path)).status, 504);
  });
});
