import assert from 'node:assert/strict';
import { pino } from 'pino';
import { AccessLog } from '../../api/gateway/access-log.ts';
import { eventually } from '../support/eventually.ts';
import { ask, bearer, open, raw } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, seesRoutes, type World } from './world.ts';

describe('gateway: access log', () => {
  const lines: string[] = [];
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  before(async () => {
    world = await createWorld();
    const log = pino({ base: null, timestamp: false }, { write: (line: string) => void lines.push(line) });
    gateway = await world.startGateway({ config: { accessLog: { sample: 1 } }, log });
    upstream = await startUpstream((req, res) => {
      if (req.url?.startsWith('/dies')) {
        res.write('half');
        setTimeout(() => res.destroy(), 20);
      } else if (!req.url?.startsWith('/never')) res.end('twelve bytes');
    });
  });
  beforeEach(() => lines.splice(0));
  after(async () => {
    await world.close();
    await upstream.close();
  });

  async function served(type: 'public' | 'private' = 'public') {
    const endpoint = await world.addEndpoint({ type });
    const replica = await world.addReplica(endpoint, upstream.address);
    await seesRoutes(world, gateway);
    return { ...endpoint, replica };
  }

  async function entry(): Promise<Record<string, unknown>> {
    const line = await eventually('a line', () => lines.find((text) => text.includes('"msg":"request"')));
    return JSON.parse(line);
  }

  it('has a line for each answer, and in it nothing of headers, queries and bodies', async () => {
    const endpoint = await served('private');
    const token = await world.token();
    await eventually('the token is known', async () => {
      lines.splice(0);
      const headers = { ...bearer(token), 'x-request-id': 'mine', 'x-note': 'HEADER' };
      const path = `${endpoint.path}/v1/x?key=QUERY`;
      return (await ask(gateway.port, path, { method: 'PUT', headers, body: 'BODY' })).status === 200;
    });
    const { ms, ...rest } = await entry();
    assert.ok(typeof ms === 'number' && ms > 0 && ms < 20_000);
    assert.deepEqual(rest, {
      level: 30,
      method: 'PUT',
      endpoint: `acme/${endpoint.name}`,
      status: 200,
      bytes: 12,
      replica: endpoint.replica,
      requestId: 'mine',
      outcome: 'complete',
      msg: 'request',
    });
    assert.doesNotMatch(lines.join(''), new RegExp(`HEADER|QUERY|BODY|${token}`));
  });

  it('tells refusals, replicas that broke off, and clients that left', async () => {
    const endpoint = await served();
    await ask(gateway.port, '/acme/none');
    const { status, outcome, endpoint: key } = await entry();
    assert.deepEqual([status, outcome, key], [404, 'refused', null]);

    lines.splice(0);
    await ask(gateway.port, `${endpoint.path}/dies`).catch(() => undefined);
    const broken = await entry();
    assert.deepEqual([broken.status, broken.outcome, broken.bytes], [200, 'brokenOff', 4]);

    lines.splice(0);
    const { req } = open(gateway.port, `${endpoint.path}/never`);
    await eventually('under way', () => upstream.requests.some(({ url }) => url === '/never'));
    req.destroy();
    const left = await entry();
    assert.deepEqual([left.status, left.outcome, left.bytes], [null, 'clientLeft', 0]);
  });

  it('tells of a request that was held in vain', async () => {
    const endpoint = await world.addEndpoint({ state: 'scaledToZero' });
    await eventually('the endpoint is known', async () => {
      lines.splice(0);
      const headers = { 'x-scale-up-timeout': '0' };
      return (await ask(gateway.port, endpoint.path, { headers })).status === 503;
    });
    const { status, outcome, replica, endpoint: key } = await entry();
    assert.deepEqual([status, outcome, replica, key], [503, 'refused', null, `acme/${endpoint.name}`]);
  });

  it('tells of upgrades, served and refused', async () => {
    const endpoint = await served();
    upstream.server.once('upgrade', (_req, socket) => {
      socket.end('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nbye');
    });
    const ask101 = (path: string) =>
      raw(
        gateway.port,
        `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n`,
      );
    const answer = await ask101(endpoint.path);
    assert.match(answer, /^HTTP\/1.1 101/);
    const { ms: _, ...tunnel } = await entry();
    assert.deepEqual([tunnel.status, tunnel.outcome, tunnel.bytes], [101, 'complete', answer.length]);
    lines.splice(0);
    await ask101('/acme/none');
    assert.deepEqual([(await entry()).status, (await entry()).outcome], [404, 'refused']);
  });

  it('writes the share that was asked for, and makes no entries for none', () => {
    const written: object[] = [];
    const log = { info: (fields: object) => void written.push(fields) };
    const entry = {
      ...{ method: 'GET', endpoint: null, status: 200, ms: 1.26, bytes: 0, replica: null, requestId: 'x' },
      outcome: 'complete',
    } as const;
    let at = 0;
    const quarter = new AccessLog(log, 0.25, () => (at++ % 100) / 100);
    for (let i = 0; i < 1000; i += 1) quarter.note(entry);
    assert.equal(written.length, 250);
    assert.deepEqual(written[0], { ...entry, ms: 1.3 });
    assert.equal(new AccessLog(log, 0).on, false);
    assert.equal(quarter.on, true);
  });
});
