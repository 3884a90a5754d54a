import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { eventually } from '../support/eventually.ts';
import { ask, bearer, raw, receive } from './client.ts';
import { Scraped } from './scrape.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, type TestEndpoint, type World } from './world.ts';

describe('gateway: on the wire', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  let endpoint: TestEndpoint;
  let locked: TestEndpoint;
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream((req, res, body) => {
      if (req.url === '/204') res.writeHead(204).end();
      else if (req.url === '/hints') res.writeEarlyHints({ link: '</a>' }, () => res.end('after hints'));
      else if (req.url === '/chunked') {
        res.write('one ');
        res.end('two');
      } else
        res
          .writeHead(200, { 'content-length': Buffer.byteLength(`${req.url}${body}`) })
          .end(`${req.url}${body}`);
    });
    endpoint = await world.addEndpoint();
    locked = await world.addEndpoint({ type: 'private' });
    await world.addReplica(endpoint, upstream.address);
    await world.addReplica(locked, upstream.address);
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });

  const head = (...lines: string[]) => `${lines.join('\r\n')}\r\n\r\n`;
  const post = (...headers: string[]) => head(`POST ${endpoint.path}/x HTTP/1.1`, 'Host: x', ...headers);
  const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((m) => Number(m[1]));

  it('refuses messages of which two readers could disagree where they end', async () => {
    const before = upstream.requests.length;
    const smuggled = head('GET /acme/smuggled HTTP/1.1', 'Host: x');
    const shapes: Record<string, string> = {
      'length and chunked': `${post('Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
      'chunked and length': `${post('Transfer-Encoding: chunked', 'Content-Length: 5')}0\r\n\r\n`,
      'two lengths': `${post('Content-Length: 5', 'Content-Length: 6')}hello`,
      'two equal lengths': `${post('Content-Length: 5', 'Content-Length: 5')}hello`,
      'a list of lengths': `${post('Content-Length: 5, 5')}hello`,
      'a signed length': `${post('Content-Length: +5')}hello`,
      'a hexadecimal length': `${post('Content-Length: 0x5')}hello`,
      'a coding before chunked': `${post('Transfer-Encoding: gzip, chunked')}0\r\n\r\n`,
      'chunked not last': `${post('Transfer-Encoding: chunked, identity')}0\r\n\r\n`,
      'chunked twice': `${post('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
      'an unknown coding': `${post('Transfer-Encoding: xchunked')}0\r\n\r\n`,
      'a blank before the colon': `${post('Transfer-Encoding : chunked')}0\r\n\r\n`,
      'a vertical tab in the coding': `${post('Transfer-Encoding: \x0bchunked')}0\r\n\r\n`,
      'a folded header': `${post('Transfer-Encoding:', ' chunked')}0\r\n\r\n`,
      'a bare line feed': post('X-A: 1\nTransfer-Encoding: chunked'),
      'a bare carriage return': post('X-A: 1\rTransfer-Encoding: chunked'),
      'a null byte': post('X-A: 1\x00'),
      'a broken chunk size': `${post('Transfer-Encoding: chunked')}5;\n;x\r\nhello\r\n0\r\n\r\n`,
      'a chunk longer than its size': `${post('Transfer-Encoding: chunked')}2\r\nhello\r\n0\r\n\r\n`,
      'an absolute target': head(`GET http://x${endpoint.path} HTTP/1.1`, 'Host: x', 'Connection: close'),
      'an asterisk': head('OPTIONS * HTTP/1.1', 'Host: x', 'Connection: close'),
      'no host': head(`GET ${endpoint.path} HTTP/1.1`),
      'a blank in the target': head(`GET ${endpoint.path}/a b HTTP/1.1`, 'Host: x'),
      'another protocol': head(`GET ${endpoint.path} SMTP/1.0`, 'Host: x'),
    };
    for (const [name, bytes] of Object.entries(shapes)) {
      const answer = await raw(gateway.port, bytes + smuggled, (text) => statuses(text).length > 1);
      assert.equal(statuses(answer)[0], 400, `${name}: ${answer.slice(0, 60)}`);
      assert.ok(statuses(answer).length === 1 || statuses(answer)[1] === 404, name);
    }
    assert.equal(upstream.requests.length, before);
  });

  it('does not act as a forward proxy', async () => {
    const answer = await raw(
      gateway.port,
      head(`CONNECT ${upstream.address} HTTP/1.1`, `Host: ${upstream.address}`),
    );
    assert.doesNotMatch(answer, / 200 /);
  });

  it('refuses a head that is too large, and goes on with others', async () => {
    const large = await raw(
      gateway.port,
      head(`GET ${endpoint.path} HTTP/1.1`, 'Host: x', `X-Large: ${'x'.repeat(40_000)}`),
    );
    assert.match(large, /^HTTP\/1\.1 431 /);
    const long = await raw(
      gateway.port,
      head(`GET ${endpoint.path}/${'x'.repeat(40_000)} HTTP/1.1`, 'Host: x'),
    );
    assert.match(long, /^HTTP\/1\.1 431 /);
    const fits = await ask(gateway.port, endpoint.path, { headers: { 'x-large': 'x'.repeat(20_000) } });
    assert.equal(fits.status, 200);
  });

  it('answers pipelined requests one by one, in order', async () => {
    const many = [1, 2, 3, 4].map((n) =>
      head(`GET ${endpoint.path}/${n} HTTP/1.1`, 'Host: x', ...(n === 4 ? ['Connection: close'] : [])),
    );
    const answer = await raw(gateway.port, many.join(''));
    assert.deepEqual(statuses(answer), [200, 200, 200, 200]);
    assert.deepEqual(
      [...answer.matchAll(/\r\n\r\n(\/\d)/g)].map((m) => m[1]),
      ['/1', '/2', '/3', '/4'],
    );
  });

  it('keeps a connection usable after refusing a request with a body', async () => {
    const refused =
      head('POST /acme/nothing HTTP/1.1', 'Host: x', 'Content-Length: 50000') + 'b'.repeat(50_000);
    const answer = await raw(
      gateway.port,
      refused + head(`GET ${endpoint.path}/next HTTP/1.1`, 'Host: x', 'Connection: close'),
    );
    assert.deepEqual(statuses(answer), [404, 200]);
  });

  it('says 100 Continue to a request it takes, and only to such', async () => {
    const socket = connect(gateway.port, '127.0.0.1');
    socket.write(post('Expect: 100-continue', 'Content-Length: 5', 'Connection: close'));
    let all = '';
    socket.on('data', (chunk) => {
      all += chunk;
    });
    await eventually('100', () => all === 'HTTP/1.1 100 Continue\r\n\r\n');
    socket.write('hello');
    assert.match(all + (await receive(socket)), /100 Continue\r\n\r\nHTTP\/1\.1 200 OK[\s\S]*\/xhello$/);
    const refused = await raw(
      gateway.port,
      head(`POST ${locked.path} HTTP/1.1`, 'Host: x', 'Expect: 100-continue', 'Content-Length: 5'),
    );
    assert.deepEqual(statuses(refused), [401]);
    const odd = await raw(gateway.port, post('Expect: miracles', 'Content-Length: 0', 'Connection: close'));
    assert.deepEqual(statuses(odd), [417]);
  });

  it('passes HEAD, OPTIONS and DELETE, bodiless answers and early hints', async () => {
    const headAnswer = await ask(gateway.port, `${endpoint.path}/h`, { method: 'HEAD' });
    assert.deepEqual(
      [headAnswer.status, headAnswer.headers['content-length'], headAnswer.body],
      [200, '2', ''],
    );
    for (const method of ['OPTIONS', 'DELETE', 'PATCH', 'PUT']) {
      assert.equal((await ask(gateway.port, `${endpoint.path}/o`, { method })).status, 200, method);
      assert.equal(upstream.requests.at(-1)?.method, method);
    }
    assert.equal((await ask(gateway.port, locked.path, { method: 'OPTIONS' })).status, 401);
    assert.equal((await ask(gateway.port, `${endpoint.path}/204`)).status, 204);
    assert.equal((await ask(gateway.port, `${endpoint.path}/hints`)).body, 'after hints');
  });

  it('serves HTTP/1.0, without chunks', async () => {
    const answer = await raw(gateway.port, head(`GET ${endpoint.path}/chunked HTTP/1.0`));
    assert.doesNotMatch(answer, /transfer-encoding/i);
    assert.ok(answer.endsWith('\r\n\r\none two'));
  });

  it('frames a chunked answer as one', async () => {
    const answer = await raw(
      gateway.port,
      head(`GET ${endpoint.path}/chunked HTTP/1.1`, 'Host: x', 'Connection: close'),
    );
    assert.equal(answer.match(/transfer-encoding: chunked/gi)?.length, 1);
    assert.ok(answer.endsWith('0\r\n\r\n'));
  });

  it('speaks OpenMetrics about itself, without the name of any endpoint or token', async () => {
    const token = await world.token();
    await ask(gateway.port, locked.path, { headers: bearer(token) });
    const answer = await ask(gateway.port, '/metrics');
    assert.equal(answer.status, 200);
    assert.match(String(answer.headers['content-type']), /^application\/openmetrics-text/);
    const said = new Scraped(answer.body);
    assert.ok(said.total('gateway_accepted_requests') > 0);
    assert.ok(said.total('gateway_refusals_total', 'kind="notFound"') > 0);
    const answered = said.total('gateway_first_byte_seconds_count');
    assert.ok(answered > 0);
    assert.equal(said.total('gateway_first_byte_seconds_bucket', 'le="\\+Inf"'), answered);
    assert.ok(said.total('gateway_first_byte_seconds_bucket', 'le="300"') <= answered);
    assert.equal(said.total('gateway_responses_total', 'class="\\dxx"'), answered);
    assert.ok(answer.body.endsWith('# EOF\n'));
    for (const secret of [endpoint.name, locked.name, token]) assert.ok(!answer.body.includes(secret));
  });
});
