import assert from 'node:assert/strict';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { eventually } from '../support/eventually.ts';
import { ask, raw } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, seesRoutes, type TestEndpoint, type World } from './world.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

const NO_WAIT = { headers: { 'x-scale-up-timeout': '0' } };

describe('gateway: traces', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  let endpoint: TestEndpoint;
  /** The `traceparent` of each WebSocket that the engine was asked for. */
  const handshakes: unknown[] = [];
  const spans = new InMemorySpanExporter();
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream((req, res) => {
      res.writeHead(req.url === '/500' ? 500 : 200, { 'content-type': 'application/json' });
      res.end('{"usage":{"prompt_tokens":3,"completion_tokens":4}}');
    });
    upstream.server.on('upgrade', (req, socket) => {
      handshakes.push(req.headers.traceparent);
      socket.end(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello',
      );
    });
    endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    gateway = await world.startGateway({ config: { tracing: true } });
    await seesRoutes(world, gateway);
  });
  after(async () => {
    trace.disable();
    await world.close();
    await upstream.close();
  });
  const call = (path: string, traceparent?: string) =>
    ask(gateway.port, `${endpoint.path}${path}`, { headers: traceparent ? { traceparent } : {} });
  const traceparent = () => upstream.requests.at(-1)?.headers.traceparent;

  it('pass through as the caller made them where no SDK is loaded', async () => {
    await call('/', `00-${TRACE}-${SPAN}-01`);
    assert.equal(traceparent(), `00-${TRACE}-${SPAN}-01`);
    await call('/');
    assert.equal(traceparent(), undefined);
  });

  it('have a span for each request: a child of the caller’s, the parent of the engine’s', async () => {
    trace.setGlobalTracerProvider(
      new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }),
    );
    await call('/v1/chat?key=secret', `00-${TRACE}-${SPAN}-01`);
    const [span] = await eventually('ended', () => {
      const ended = spans.getFinishedSpans();
      return ended.length === 1 && ended;
    });
    assert.ok(span);
    assert.equal(span.spanContext().traceId, TRACE);
    assert.equal(span.parentSpanContext?.spanId, SPAN);
    assert.equal(traceparent(), `00-${TRACE}-${span.spanContext().spanId}-01`);
    assert.equal(span.attributes['inference.endpoint'], `acme/${endpoint.name}`);
    assert.equal(span.attributes['url.path'], '/v1/chat');
    assert.equal(span.attributes['http.response.status_code'], 200);
    assert.equal(span.attributes['gen_ai.usage.output_tokens'], 4);
    assert.deepEqual(
      span.events.map(({ name }) => name),
      ['sent', 'answered', 'first byte'],
    );
    assert.ok(!JSON.stringify(span.attributes).includes('secret'));
  });

  it('have a span for each WebSocket, also for one that waits in vain', async () => {
    const handshake = (path: string, more: string) =>
      `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${more}\r\n\r\n`;
    const spanOf = async (path: string, more: string) => {
      spans.reset();
      const answer = await raw(gateway.port, handshake(path, more));
      const [span] = await eventually('ended', () => {
        const ended = spans.getFinishedSpans();
        return ended.length === 1 && ended;
      });
      assert.ok(span);
      return { answer, span, events: span.events.map(({ name }) => name) };
    };
    const tunnelled = await spanOf(`${endpoint.path}/ws?key=secret`, `traceparent: 00-${TRACE}-${SPAN}-01`);
    assert.match(tunnelled.answer, /^HTTP\/1\.1 101 .*hello$/s);
    const { span } = tunnelled;
    assert.deepEqual([span.spanContext().traceId, span.parentSpanContext?.spanId], [TRACE, SPAN]);
    assert.deepEqual(handshakes, [`00-${TRACE}-${span.spanContext().spanId}-01`]);
    assert.deepEqual(
      [span.attributes['url.path'], span.attributes['http.response.status_code']],
      ['/ws', 101],
    );
    assert.ok(Number(span.attributes['http.response.body.size']) > 0);
    assert.deepEqual(tunnelled.events, ['sent', 'answered']);
    const asleep = await world.addEndpoint({ state: 'scaledToZero' });
    await eventually('known', async () => (await ask(gateway.port, asleep.path, NO_WAIT)).status === 503);
    const refused = await spanOf(`${asleep.path}/ws`, 'X-Scale-Up-Timeout: 0.2');
    assert.deepEqual(refused.events, ['held']);
    assert.equal(refused.span.attributes['http.response.status_code'], 503);
    assert.equal(refused.span.status.code, SpanStatusCode.ERROR);
  });

  it('begin here where the caller has none, or none that is one, and tell errors', async () => {
    for (const given of [undefined, 'nonsense', `00-${'0'.repeat(32)}-${SPAN}-01`]) {
      spans.reset();
      await call('/500', given);
      const [span] = await eventually('ended', () => {
        const ended = spans.getFinishedSpans();
        return ended.length === 1 && ended;
      });
      assert.ok(span && span.spanContext().traceId !== '0'.repeat(32));
      assert.equal(span.parentSpanContext, undefined);
      assert.match(String(traceparent()), new RegExp(`^00-${span.spanContext().traceId}-`));
      assert.equal(span.status.code, SpanStatusCode.ERROR);
    }
  });
});
