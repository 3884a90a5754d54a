import assert from 'node:assert/strict';
import { ask } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, type TestEndpoint, type World } from './world.ts';

const RESPONSE_HEADERS = [
  ['Content-Type', 'text/plain'],
  ['X-Twice', 'a'],
  ['X-Twice', 'b'],
  ['Set-Cookie', 'a=1'],
  ['Set-Cookie', 'b=2'],
  ['X-Latin', 'caf\xe9'],
  ['X-Request-Id', 'of-the-engine'],
  ['Connection', 'close, X-Hop'],
  ['X-Hop', 'only this hop'],
  ['Proxy-Authenticate', 'Basic'],
].flat();

describe('gateway: headers', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  let endpoint: TestEndpoint;
  let replica: string;
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream((_req, res, body) => {
      res.writeHead(201, 'Made', RESPONSE_HEADERS);
      res.end(body);
    });
    endpoint = await world.addEndpoint();
    replica = await world.addReplica(endpoint, upstream.address);
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });

  const seen = () => {
    const last = upstream.requests.at(-1);
    assert.ok(last);
    return last;
  };

  it("replaces the caller's token by the engine's key", async () => {
    await ask(gateway.port, endpoint.path, { headers: { Authorization: 'Bearer hf_of_the_caller' } });
    assert.equal(seen().headers.authorization, `Bearer ${world.vault.engineKey(replica)}`);
    assert.ok(!JSON.stringify(seen()).includes('hf_of_the_caller'));
  });

  it('keeps what belongs to one connection, and what Connection names, from the engine', async () => {
    await ask(gateway.port, endpoint.path, {
      body: 'x',
      headers: {
        Connection: 'close, X-Secret-Hop',
        'X-Secret-Hop': '1',
        'Keep-Alive': 'timeout=5',
        'Proxy-Authorization': 'Basic YTpi',
        'Proxy-Connection': 'keep-alive',
        TE: 'trailers',
        Trailer: 'x-t',
        Upgrade: 'foo',
        'X-Scale-Up-Timeout': '3',
        Expect: '100-continue',
      },
    });
    const { headers } = seen();
    for (const name of [
      'x-secret-hop',
      'keep-alive',
      'proxy-authorization',
      'proxy-connection',
      'te',
      'trailer',
      'upgrade',
      'x-scale-up-timeout',
      'expect',
    ])
      assert.equal(headers[name], undefined, name);
    assert.equal(headers.connection, 'keep-alive');
  });

  it('passes on all else in order and case, tracing and repeated headers included', async () => {
    const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    await ask(gateway.port, endpoint.path, {
      headers: {
        Traceparent: trace,
        'X-Many': ['1', '2'],
        'X-Latin': 'caf\xe9',
        Accept: 'text/event-stream',
      },
    });
    const { headers, rawHeaders } = seen();
    assert.equal(headers.traceparent, trace);
    assert.equal(headers['x-many'], '1, 2');
    assert.equal(headers['x-latin'], 'caf\xe9');
    assert.ok(rawHeaders.includes('Traceparent'));
  });

  it('says where the request came from, and adds itself to the trail', async () => {
    await ask(gateway.port, endpoint.path, { headers: { Host: 'models.example.com' } });
    assert.equal(seen().headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(seen().headers['x-forwarded-host'], 'models.example.com');
    assert.equal(seen().headers['x-forwarded-proto'], 'http');
    assert.equal(seen().headers['x-forwarded-prefix'], endpoint.path);
    assert.equal(seen().headers.host, upstream.address);
    await ask(gateway.port, endpoint.path, {
      headers: {
        'X-Forwarded-For': '10.1.1.1',
        'X-Forwarded-Proto': 'https',
        'X-Forwarded-Prefix': '/forged',
      },
    });
    assert.equal(seen().headers['x-forwarded-for'], '10.1.1.1, 127.0.0.1');
    assert.equal(seen().headers['x-forwarded-proto'], 'https');
    assert.equal(seen().headers['x-forwarded-prefix'], endpoint.path);
  });

  it("keeps the caller's request id when it is harmless, else makes one, and returns it", async () => {
    const given = await ask(gateway.port, endpoint.path, { headers: { 'X-Request-Id': 'abc-123' } });
    assert.equal(seen().headers['x-request-id'], 'abc-123');
    assert.equal(given.headers['x-request-id'], 'abc-123');
    for (const id of ['with blank', `${'x'.repeat(129)}`, '<script>']) {
      const answer = await ask(gateway.port, endpoint.path, { headers: { 'X-Request-Id': id } });
      assert.notEqual(answer.headers['x-request-id'], id);
      assert.equal(answer.headers['x-request-id'], seen().headers['x-request-id']);
    }
    const refused = await ask(gateway.port, '/acme/nothing', { headers: { 'X-Request-Id': 'abc-124' } });
    assert.equal(refused.headers['x-request-id'], 'abc-124');
  });

  it("gives back the engine's status and headers, less what was for the gateway alone", async () => {
    const answer = await ask(gateway.port, endpoint.path, { body: 'hello' });
    assert.equal(answer.status, 201);
    assert.equal(answer.body, 'hello');
    assert.equal(answer.headers['x-twice'], 'a, b');
    assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2']);
    assert.equal(answer.headers['x-latin'], 'caf\xe9');
    assert.equal(answer.headers['x-proxied-replica'], replica);
    assert.equal(answer.headers['x-hop'], undefined);
    assert.equal(answer.headers['proxy-authenticate'], undefined);
  });
});
