import assert from 'node:assert/strict';
import { type IncomingMessage, request } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { eventually } from '../../support/eventually.ts';
import { ask, raw } from '../client.ts';
import {
  comesToRest,
  createWorld,
  type RunningGateway,
  seesRoutes,
  type TestEndpoint,
  type World,
} from '../world.ts';

describe('gateway: engines that answer in their own way', () => {
  let world: World;
  let gateway: RunningGateway;
  const engines: Engine[] = [];
  before(async () => {
    world = await createWorld();
    gateway = await world.startGateway();
  });
  afterEach(() => comesToRest(gateway));
  after(async () => {
    await world.close();
    for (const engine of engines) engine.close();
  });

  /** An endpoint with one replica that does on each connection what it is told, with what has come so far. */
  async function endpointOf(onData: (socket: Socket, text: string) => void): Promise<[TestEndpoint, Engine]> {
    const engine = await startEngine(onData);
    engines.push(engine);
    const endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, engine.address);
    await seesRoutes(world, gateway);
    return [endpoint, engine];
  }
  /** Answers every whole request, of which `text` has at least the head. */
  const answering = (answer: string) => (socket: Socket, text: string) => {
    if (text.endsWith('\r\n\r\n')) socket.write(answer, 'latin1');
  };
  const ok = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

  it('tells of an answer that is no HTTP, once, and passes none of it on', async () => {
    for (const answer of [
      'SSH-2.0-OpenSSH_9.2\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
      'HTTP/1.1 200 OK\r\nX: a\n b\r\n\r\n',
      `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`,
    ]) {
      const [endpoint, engine] = await endpointOf(answering(answer));
      const { status, body } = await ask(gateway.port, endpoint.path);
      assert.equal(status, 502, answer.slice(0, 60));
      assert.match(
        JSON.parse(body).error,
        /gave an answer that cannot be passed on: (its .*|it says .*); try again/,
      );
      assert.equal(engine.connections, 1);
    }
  });

  it('breaks off where an answer goes wrong in the middle', async () => {
    const [endpoint] = await endpointOf((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
      setTimeout(() => socket.write('nonsense\r\n'), 20);
    });
    const text = await raw(gateway.port, `GET ${endpoint.path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    assert.match(text, /^HTTP\/1\.1 200 /);
    assert.doesNotMatch(text, /nonsense|0\r\n\r\n$/);
  });

  it('passes on an answer that ends with its connection, and status lines as they are', async () => {
    const [endpoint, engine] = await endpointOf((socket) => {
      socket.write('HTTP/1.0 299 Very Well\r\nContent-Type: text/plain\r\n\r\nall ');
      setTimeout(() => socket.end('of it'), 20);
    });
    const text = await raw(
      gateway.port,
      `GET ${endpoint.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    );
    assert.match(text, /^HTTP\/1\.1 299 Very Well\r\n/);
    assert.equal((await ask(gateway.port, endpoint.path)).body, 'all of it');
    assert.equal(engine.connections, 2);
  });

  it('does not use a connection again after an answer to HEAD: some engines send the body as well', async () => {
    const [endpoint, engine] = await endpointOf(answering(ok('HTTP/1.1 200 OK\r\n')));
    for (let i = 0; i < 3; i += 1) {
      const { status, body } = await ask(gateway.port, endpoint.path, { method: 'HEAD' });
      assert.deepEqual([status, body], [200, '']);
    }
    assert.equal(engine.connections, 3);
  });

  it('does not use a connection again on which an engine answered before it had the whole body', async () => {
    const [endpoint, engine] = await endpointOf((socket, text) => {
      if (text.includes('\r\n\r\n') && socket.bytesWritten === 0) socket.write(ok('early'));
    });
    const body = 'b'.repeat(3_000_000);
    for (let i = 0; i < 3; i += 1) {
      const answer = await ask(gateway.port, endpoint.path, { method: 'POST', body });
      assert.deepEqual([answer.status, answer.body], [200, 'early']);
    }
    assert.equal(engine.connections, 3);
    await eventually('all are closed', () => engine.open === 0);
  });

  it('sends on in chunks what came in chunks and is too large to be kept', async () => {
    const size = 400_000;
    const [endpoint, engine] = await endpointOf((socket, text) => {
      if (text.endsWith('\r\n0\r\n\r\n')) socket.write(ok('got it'));
    });
    const chunk = `${size.toString(16)}\r\n${'c'.repeat(size)}\r\n`;
    const text = await raw(
      gateway.port,
      `POST ${endpoint.path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunk}${chunk}0\r\n\r\n`,
    );
    assert.match(text, /got it$/);
    const [seen = ''] = engine.seen;
    assert.match(seen, /\r\ntransfer-encoding: chunked\r\n\r\n/);
    assert.doesNotMatch(seen, /content-length/i);
    const dechunked = seen.slice(seen.indexOf('\r\n\r\n') + 4).replace(/(^|\r\n)[0-9a-f]+\r\n/g, '');
    assert.equal(dechunked.replace(/\r\n/g, '').length, 2 * size);
  });

  it('takes an answer as slowly as its client does', async () => {
    const size = 64 * 1024 * 1024;
    let written = 0;
    const [endpoint] = await endpointOf((socket, text) => {
      if (!text.endsWith('\r\n\r\n')) return;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
      const more = () => {
        while (written < size) {
          written += 65_536;
          if (!socket.write('x'.repeat(65_536))) break;
        }
      };
      socket.on('drain', more);
      more();
    });
    const res = await new Promise<IncomingMessage>((resolve) =>
      request({ port: gateway.port, host: '127.0.0.1', path: endpoint.path }, resolve).end(),
    );
    res.pause();
    let before = -1;
    await eventually('the engine waits', async () => {
      const still = written === before;
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return still;
    });
    assert.ok(written < size / 2, `${written} bytes were taken`);
    let got = 0;
    for await (const part of res) got += (part as Buffer).length;
    assert.equal(got, size);
  });
});

interface Engine {
  address: string;
  connections: number;
  open: number;
  /** What came on each connection. */
  seen: string[];
  close(): void;
}

async function startEngine(onData: (socket: Socket, text: string) => void): Promise<Engine> {
  const sockets = new Set<Socket>();
  const engine: Engine = { address: '', connections: 0, open: 0, seen: [], close: () => undefined };
  const server: Server = createServer((socket) => {
    const nth = engine.connections;
    engine.connections += 1;
    engine.open += 1;
    engine.seen[nth] = '';
    sockets.add(socket);
    socket.setEncoding('latin1');
    socket.on('error', () => undefined);
    socket.on('close', () => {
      engine.open -= 1;
    });
    socket.on('data', (text) => {
      engine.seen[nth] += String(text);
      onData(socket, engine.seen[nth] ?? '');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  engine.address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  engine.close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return engine;
}
