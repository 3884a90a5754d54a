import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { eventually } from '../support/eventually.ts';
import { ask, open, raw, receive } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import {
  comesToRest,
  createWorld,
  type RunningGateway,
  seesRoutes,
  type TestEndpoint,
  type World,
} from './world.ts';

const SSE = { 'content-type': 'text/event-stream; charset=utf-8' };

describe('gateway: streams, and clients and engines that leave', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  let endpoint: TestEndpoint;
  /** Responses the engine has in hand, for the test to go on with. */
  let held: ServerResponse[] = [];
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream((req, res) => {
      held.push(res);
      if (req.url === '/head') res.writeHead(200, SSE).flushHeaders();
      if (req.url === '/plain') res.writeHead(200, { 'content-type': 'text/plain' }).write('begin');
      if (req.url === '/sized') res.writeHead(200, { 'content-length': '100' }).write('begin');
      if (req.url === '/stream') res.writeHead(200, SSE).write('data: {"n":1}\n\ndata: {"n"');
      if (req.url === '/big') res.end(Buffer.alloc(64 * 1024 * 1024, 'x'));
      if (req.url === '/die') res.destroy();
      if (req.url === '/echo') res.end(`${upstream.requests.at(-1)?.body.length}`);
    });
    endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });
  beforeEach(() => {
    held = [];
    upstream.aborted = 0;
  });
  afterEach(async () => {
    for (const res of held) res.destroy();
    await comesToRest(gateway);
  });

  const start = (path: string, options = {}) => open(gateway.port, `${endpoint.path}${path}`, options);

  it('sends the head on before there is a first chunk, and settles pending with it', async () => {
    const { response } = start('/head');
    const message = await response;
    assert.equal(message.statusCode, 200);
    assert.deepEqual([gateway.stats().pending, gateway.stats().inFlight], [0, 1]);
    held[0]?.write('data: 1\n\n');
    const [chunk] = await once(message, 'data');
    assert.equal(String(chunk), 'data: 1\n\n');
    held[0]?.end('data: [DONE]\n\n');
    assert.equal(await text(message), 'data: [DONE]\n\n');
  });

  it('stops the engine when the client leaves in the middle', async () => {
    const { req, response } = start('/stream');
    await response;
    req.destroy();
    await eventually('the engine is told', () => upstream.aborted === 1);
  });

  it('stops the engine when the client leaves before there is a head', async () => {
    const { req } = start('/silent', { body: '{"prompt":"long"}' });
    await eventually('the engine has it', () => held.length === 1);
    assert.equal(upstream.aborted, 0);
    req.destroy();
    await eventually('the engine is told', () => upstream.aborted === 1);
  });

  it('survives clients that give up in numbers', async () => {
    const streams = Array.from({ length: 30 }, () => start('/stream'));
    await Promise.all(streams.map(({ response }) => response));
    for (const { req } of streams) req.destroy();
    await eventually('stopped', () => upstream.aborted === 30);
    await comesToRest(gateway);
    const { response } = start('/plain');
    assert.equal((await response).statusCode, 200);
  });

  it('lets the client see that an engine died in the middle', async () => {
    for (const path of ['/plain', '/sized']) {
      const { response } = start(path);
      const message = await response;
      held.at(-1)?.destroy();
      await assert.rejects(text(message), /aborted/, path);
    }
  });

  it('tells an event stream of the death as an event, then cuts it', async () => {
    const { response } = start('/stream');
    const message = await response;
    let received = '';
    message.setEncoding('utf8').on('data', (chunk) => {
      received += chunk;
    });
    await eventually('the first event', () => received.length > 0);
    held[0]?.destroy();
    await assert.rejects(once(message, 'end'), /aborted/);
    const events = received.split('\n\n').filter(Boolean);
    assert.equal(events[0], 'data: {"n":1}');
    const last = events.at(-1)?.split('\n') ?? [];
    assert.equal(last[0], 'event: error');
    assert.equal(JSON.parse(last[1]?.slice('data: '.length) ?? '').error.type, 'upstream_error');
  });

  it('answers 502 when the engine closes without an answer, with the state of the endpoint', async () => {
    const answer = await ask(gateway.port, `${endpoint.path}/die`);
    assert.equal(answer.status, 502);
    assert.equal(JSON.parse(answer.body).code, 'UPSTREAM_FAILED');
  });

  it('reads from the engine no faster than the client does', async () => {
    const socket = connect(gateway.port, '127.0.0.1');
    socket.write(`GET ${endpoint.path}/big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    await once(socket, 'readable');
    const engine = await eventually('the engine answers', () => held[0]?.socket ?? false);
    // It stands still well before the end: what is under way fits into buffers.
    let last = -1;
    await eventually(
      'the engine is held back',
      () => {
        const still = engine.bytesWritten === last && engine.writableLength > 1024 * 1024;
        last = engine.bytesWritten;
        return still;
      },
      { everyMs: 200 },
    );
    const all = await receive(socket);
    assert.ok(all.length > 64 * 1024 * 1024);
  });

  it('streams a large body once, with the length it came with', async () => {
    const body = randomBytes(3_000_000).toString('base64');
    const answer = await ask(gateway.port, `${endpoint.path}/echo`, { body });
    assert.equal(answer.body, String(body.length));
    assert.equal(upstream.requests.at(-1)?.headers['content-length'], String(body.length));
  });

  it('streams a chunked body that turns out to be large, whole', async () => {
    const chunk = 'y'.repeat(50_000);
    const one = `${chunk.length.toString(16)}\r\n${chunk}\r\n`;
    const answer = await raw(
      gateway.port,
      `POST ${endpoint.path}/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${one.repeat(20)}0\r\n\r\n`,
    );
    assert.match(answer, /^HTTP\/1.1 200/);
    assert.ok(answer.includes('1000000'));
    assert.equal(upstream.requests.at(-1)?.headers['transfer-encoding'], 'chunked');
  });

  it('passes on an answer that comes before the body is taken, and keeps the client connected', async () => {
    const impatient = createServer((_req, res) => res.writeHead(413).end('too large'));
    await new Promise<void>((resolve) => impatient.listen(0, '127.0.0.1', resolve));
    const other = await world.addEndpoint();
    await world.addReplica(other, `127.0.0.1:${(impatient.address() as AddressInfo).port}`);
    await seesRoutes(world, gateway);
    const answer = await ask(gateway.port, other.path, { body: Buffer.alloc(5_000_000) });
    assert.equal(answer.status, 413);
    assert.equal(answer.body, 'too large');
    impatient.close();
    impatient.closeAllConnections();
  });

  it('stops the engine when the client leaves in the middle of its own body', async () => {
    let uploads = 0;
    upstream.server.prependOnceListener('request', (req) => {
      req.on('close', () => {
        if (!req.complete) uploads += 1;
      });
    });
    const socket = connect(gateway.port, '127.0.0.1');
    socket.write(`POST ${endpoint.path}/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\nbegin`);
    await eventually('under way', () => gateway.stats().inFlight === 1);
    socket.destroy();
    await eventually('the engine is told', () => uploads === 1);
  });
});
