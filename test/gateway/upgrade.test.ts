import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';
import { raw } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import {
  comesToRest,
  createWorld,
  type RunningGateway,
  seesRoutes,
  type TestEndpoint,
  type World,
} from './world.ts';

describe('gateway: WebSockets', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  let endpoint: TestEndpoint;
  let token: string;
  let replica: string;
  /** Engine's side of the tunnels. */
  let tunnels: Socket[] = [];
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream();
    upstream.server.on('upgrade', (req, socket: Socket, head) => {
      upstream.requests.push({
        method: req.method ?? '',
        url: req.url ?? '',
        headers: req.headers,
        rawHeaders: req.rawHeaders,
        body: '',
      });
      if (req.url === '/refuse') {
        socket.end('HTTP/1.1 426 Upgrade Required\r\nContent-Length: 6\r\nX-Why: old\r\n\r\nno way');
        return;
      }
      tunnels.push(socket);
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: yes\r\n\r\nhello ',
      );
      if (head.length) socket.write(head);
      socket.on('error', () => undefined);
      socket.pipe(socket);
    });
    endpoint = await world.addEndpoint({ type: 'private' });
    replica = await world.addReplica(endpoint, upstream.address);
    token = await world.token();
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });
  beforeEach(() => {
    tunnels = [];
  });
  afterEach(() => comesToRest(gateway));

  const handshake = (
    path: string,
    headers: string[] = [`Authorization: Bearer ${token}`],
    upgrade = 'websocket',
  ) =>
    [
      `GET ${path} HTTP/1.1`,
      'Host: x',
      'Connection: Upgrade',
      `Upgrade: ${upgrade}`,
      'Sec-WebSocket-Key: abc',
      ...headers,
      '',
      '',
    ].join('\r\n');

  async function opened(path: string, extra = ''): Promise<{ socket: Socket; received: () => string }> {
    const socket = connect(gateway.port, '127.0.0.1');
    let all = '';
    socket.setEncoding('latin1').on('data', (chunk) => {
      all += chunk;
    });
    socket.on('error', () => undefined);
    socket.write(handshake(path) + extra);
    return { socket, received: () => all };
  }

  it('tunnels both ways once the engine has switched, with its key in place of the token', async () => {
    const { socket, received } = await opened(`${endpoint.path}/ws?x=1`, 'early ');
    await eventually('echo of what was sent early', () => received().endsWith('hello early '));
    assert.match(received(), /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    assert.match(received(), /sec-websocket-accept: yes/i);
    assert.ok(received().toLowerCase().includes(`x-proxied-replica: ${replica}`));
    socket.write('late');
    await eventually('echo', () => received().endsWith('late'));
    const seen = upstream.requests.at(-1);
    assert.equal(seen?.url, '/ws?x=1');
    assert.equal(seen?.headers.authorization, `Bearer ${world.vault.engineKey(replica)}`);
    assert.equal(seen?.headers['sec-websocket-key'], 'abc');
    socket.destroy();
  });

  it('counts an open tunnel as in flight, not as pending', async () => {
    const { socket, received } = await opened(`${endpoint.path}/ws`);
    await eventually('open', () => received().includes('hello'));
    const { pending, inFlight } = gateway.stats();
    assert.deepEqual([pending, inFlight], [0, 1]);
    socket.destroy();
    await eventually('the engine is told', () => tunnels[0]?.destroyed === true);
  });

  it('closes the client when the engine closes', async () => {
    const { socket, received } = await opened(`${endpoint.path}/ws`);
    await eventually('open', () => received().includes('hello'));
    const closed = once(socket, 'close');
    tunnels[0]?.destroy();
    await closed;
  });

  it('checks the token as for any request', async () => {
    const answer = await raw(gateway.port, handshake(`${endpoint.path}/ws`, []));
    assert.match(answer, /^HTTP\/1\.1 401 Unauthorized\r\n/);
    assert.match(answer, /UNAUTHORIZED/);
    assert.match(await raw(gateway.port, handshake('/acme/nothing/ws')), /^HTTP\/1\.1 404 /);
  });

  it('makes no tunnel of a refused handshake, so nothing slips past the token check after it', async () => {
    const before = upstream.requests.length;
    const smuggled = `GET /secret HTTP/1.1\r\nHost: x\r\n\r\n`;
    const answer = await raw(gateway.port, `${handshake(`${endpoint.path}/refuse`)}${smuggled}`);
    assert.match(answer, /^HTTP\/1\.1 426 Upgrade Required\r\n/);
    assert.match(answer, /x-why: old/i);
    assert.ok(answer.endsWith('no way'));
    assert.equal(upstream.requests.length, before + 1);
  });

  it('serves or refuses other upgrades, but never tunnels them', async () => {
    const answer = await raw(
      gateway.port,
      handshake(`${endpoint.path}/x`, [`Authorization: Bearer ${token}`, 'Connection: close'], 'h2c'),
    );
    assert.match(answer, /^HTTP\/1\.1 (200|400) /);
    assert.equal(tunnels.length, 0);
  });

  it('goes to another replica when one refuses the connection', async () => {
    const other = await world.addEndpoint();
    await world.addReplica(other, `127.0.0.1:${await freePort()}`);
    await world.addReplica(other, upstream.address);
    await seesRoutes(world, gateway);
    for (let i = 0; i < 4; i++) {
      const { socket, received } = await opened(`${other.path}/ws`);
      await eventually('open', () => received().includes('hello'));
      socket.destroy();
    }
  });

  it('holds a handshake for a sleeping endpoint, and notices when its client leaves', async () => {
    const asleep = await world.addEndpoint({ state: 'scaledToZero' });
    await eventually('known', async () =>
      (await raw(gateway.port, handshake(`${asleep.path}/ws`, ['X-Scale-Up-Timeout: 0']))).includes(' 503 '),
    );
    const left = await opened(`${asleep.path}/ws`);
    await eventually('held', () => gateway.stats().held === 1);
    left.socket.destroy();
    await eventually('gone', () => gateway.stats().held === 0);
    const { socket, received } = await opened(`${asleep.path}/ws`, 'early');
    await eventually('held', () => gateway.stats().held === 1);
    await world.addReplica(asleep, upstream.address);
    await eventually('open', () => received().endsWith('hello early'));
    socket.destroy();
  });
});
