import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { eventually } from '../support/eventually.ts';
import { ask, raw } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { comesToRest, createWorld, type RunningGateway, type TestEndpoint, type World } from './world.ts';

/**
 * Holes that other Node proxies and clients had, each by the name it was published under, tried on this gateway. Those that
 * concern a feature it does not have (redirects, cookies across origins, decompression, TLS to the engine) are listed in
 * `docs/gateway-behaviour.md`.
 */
describe('gateway: published advisories', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  let stranger: Upstream;
  let endpoint: TestEndpoint;
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream();
    stranger = await startUpstream();
    endpoint = await world.addEndpoint({ name: 'ab' });
    await world.addReplica(endpoint, upstream.address);
    await world.addReplica(await world.addEndpoint({ name: 'a' }), stranger.address);
    gateway = await world.startGateway();
  });
  beforeEach(() => {
    upstream.requests.length = 0;
    stranger.requests.length = 0;
  });
  after(async () => {
    await world.close();
    await upstream.close();
    await stranger.close();
  });

  const head = (...lines: string[]) => `${lines.join('\r\n')}\r\n\r\n`;
  const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((m) => Number(m[1]));
  const last = () => {
    const request = upstream.requests.at(-1);
    assert.ok(request, 'the engine was asked');
    return request;
  };
  /** The status of one request that closes its connection, written as it stands. */
  const sent = async (text: string) => statuses(await raw(gateway.port, text))[0];

  describe('fastify-reply-from and fastify-http-proxy', () => {
    it('CVE-2021-21321, CVE-2021-21322: no path leaves the endpoint it names', async () => {
      for (const rest of [
        '/../a/x',
        '/%2e%2e/a/x',
        '/.%2E/a/x',
        '/x/..%2f..%2fa',
        '/..\\a',
        '/x/%2e%2e%5ca',
      ]) {
        const status = await sent(head(`GET /acme/ab${rest} HTTP/1.1`, 'Host: x', 'Connection: close'));
        assert.equal(status, 400, rest);
      }
      assert.equal(upstream.requests.length + stranger.requests.length, 0);
    });

    it('CVE-2023-51701: a body is the same whatever its Content-Type looks like', async () => {
      for (const type of [
        'application/json ;charset=utf-8',
        'application/json;',
        'application/JSON\t',
        'x',
      ]) {
        const body = '{"a":1 , "a":2}';
        await ask(gateway.port, `${endpoint.path}/x`, { headers: { 'content-type': type }, body });
        assert.equal(last().body, body, type);
        assert.equal(last().headers['content-type'], type.trim());
      }
    });

    it('CVE-2025-66415: no target leads to another host', async () => {
      const host = stranger.address;
      for (const target of [
        `http://${host}/x`,
        `//${host}/x`,
        `/\\${host}/x`,
        `/acme/ab/@${host}/x`,
        `${host}/x`,
      ])
        await raw(gateway.port, head(`GET ${target} HTTP/1.1`, 'Host: x', 'Connection: close'));
      assert.equal(stranger.requests.length, 0);
    });

    it('CVE-2026-15631: nor does one of a WebSocket handshake', async () => {
      for (const rest of ['/../a/x', '/%2e%2e/a']) {
        const handshake = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
        const status = await sent(head(`GET /acme/ab${rest} HTTP/1.1`, 'Host: x', ...handshake));
        assert.equal(status, 400, rest);
      }
      assert.equal(stranger.requests.length, 0);
    });

    it('CVE-2026-16117: an encoded name is not the name', async () => {
      for (const target of ['/%61cme/ab/x', '/acme/%61b/x', '/acme%2fab/x'])
        assert.ok([400, 404].includes((await ask(gateway.port, target)).status), target);
      assert.equal(upstream.requests.length, 0);
    });

    it('CVE-2026-16158: names that read alike when joined stay apart', async () => {
      await ask(gateway.port, '/acme/ab/c');
      await ask(gateway.port, '/acme/a/bc');
      assert.deepEqual([upstream.requests[0]?.url, stranger.requests[0]?.url], ['/c', '/bc']);
    });

    it('CVE-2026-33805: a client cannot name what the gateway says as hop-by-hop', async () => {
      const named = 'Connection: close, authorization, x-request-id, x-forwarded-for, content-length, host';
      const text = head('POST /acme/ab/x HTTP/1.1', 'Host: x', named, 'Content-Length: 5');
      assert.equal(await sent(`${text}hello`), 200);
      assert.equal(last().body, 'hello');
      for (const name of ['authorization', 'x-request-id', 'x-forwarded-for'])
        assert.ok(last().headers[name], name);
    });

    it('CVE-2026-120213: separators in the rest of a path stay encoded', async () => {
      for (const rest of ['/m%2F..x%3Fq%23f', '/a%252fb', '/%00', '/x;y=%3b']) {
        await ask(gateway.port, `${endpoint.path}${rest}`);
        assert.equal(last().url, rest);
      }
    });

    it('CVE-2026-133212: a GET, HEAD or DELETE with a body leaves nothing for the request behind it', async () => {
      const smuggled = head('GET /smuggled HTTP/1.1', 'Host: x');
      for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE', 'PUT'])
        for (const framing of [`Content-Length: ${smuggled.length}`, 'Transfer-Encoding: chunked']) {
          const chunked = `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`;
          const body = framing.startsWith('C') ? smuggled : chunked;
          await raw(
            gateway.port,
            head(`${method} /acme/ab/x HTTP/1.1`, 'Host: x', 'Connection: close', framing) + body,
          );
          assert.equal((await ask(gateway.port, `${endpoint.path}/next`)).status, 200);
        }
      const seen = upstream.requests.map(({ url }) => url);
      assert.ok(!seen.includes('/smuggled'), seen.join(' '));
      assert.equal(seen.filter((url) => url === '/next').length, 12);
    });
  });

  describe('http-proxy and its middleware', () => {
    it('GHSA-6x33-pw7p-hmpq: a long body does not stop the proxy', async () => {
      for (const length of [1025, 99_999, 100_001, 3_000_000]) {
        const body = 'x'.repeat(length);
        assert.equal((await ask(gateway.port, `${endpoint.path}/x`, { body })).status, 200);
        assert.equal(last().body.length, length);
      }
    });

    it('CVE-2024-21536: odd paths do not stop it', async () => {
      for (const target of ['//x@x', '/(', '/[', '/{a,b}', '/!(', '/%', '/%zz', '/acme/ab/%'])
        assert.ok((await ask(gateway.port, target)).status < 500, target);
    });

    it('CVE-2025-32996, CVE-2025-32997: a body that is no JSON goes through once, as it is', async () => {
      const body = '{"a": [1,';
      await ask(gateway.port, `${endpoint.path}/x`, {
        headers: { 'content-type': 'application/json' },
        body,
      });
      assert.deepEqual([upstream.requests.length, last().body], [1, body]);
    });

    it('GHSA-64mm-vxmg-q3vj: Host and X-Forwarded-Host choose no endpoint', async () => {
      const hosts = [`${stranger.address}`, 'a', 'acme/a', 'a.acme'];
      for (const host of hosts)
        await ask(gateway.port, `${endpoint.path}/x`, { headers: { host, 'x-forwarded-host': host } });
      assert.deepEqual([upstream.requests.length, stranger.requests.length], [hosts.length, 0]);
    });

    it('CVE-2023-2968: a client that is gone at once does not stop it', async () => {
      for (let round = 0; round < 50; round++) {
        const socket = connect(gateway.port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.write(head('GET /acme/ab/x HTTP/1.1', 'Host: x'), () => socket.resetAndDestroy());
      }
      await comesToRest(gateway);
      assert.equal((await ask(gateway.port, endpoint.path)).status, 200);
    });
  });

  describe('undici and Node', () => {
    it('CVE-2022-31150, CVE-2022-35948, CVE-2023-23936, CVE-2026-1527: no line break becomes a header', async () => {
      for (const rest of ['/%0d%0aX-Evil:%201', '/x?a=%0d%0a%0d%0aGET%20/evil']) {
        assert.equal((await ask(gateway.port, `${endpoint.path}${rest}`)).status, 200);
        assert.equal(last().url, rest);
      }
      const broken = [
        'Content-Type: a\nX-Evil: 1',
        'Host: x\rX-Evil: 1',
        'Upgrade: websocket\nX-Evil: 1',
        'X: \0',
      ];
      for (const line of broken) {
        const text = head('GET /acme/ab/evil HTTP/1.1', 'Host: x', 'Connection: close', line);
        assert.equal(await sent(text), 400, JSON.stringify(line));
      }
      assert.ok(upstream.requests.every(({ headers, url }) => !headers['x-evil'] && url !== '/evil'));
    });

    it('CVE-2022-35949: a path that looks like a host is a path', async () => {
      await ask(gateway.port, `${endpoint.path}//${stranger.address}/x`);
      assert.equal(last().url, `//${stranger.address}/x`);
      assert.equal(stranger.requests.length, 0);
    });

    it('CVE-2023-24807: a header of blanks is read in passing', async () => {
      const value = `a${' \t'.repeat(14_000)}b`;
      assert.equal((await ask(gateway.port, endpoint.path, { headers: { 'x-blank': value } })).status, 200);
      assert.equal(last().headers['x-blank'], value);
    });

    it('CVE-2026-1525: the engine is told one length, whatever the case of the name', async () => {
      const both = head('POST /acme/ab/x HTTP/1.1', 'Host: x', 'Content-Length: 5', 'content-length: 5');
      assert.equal(await sent(`${both}hello`), 400);
      for (const name of ['Content-Length', 'CONTENT-LENGTH', 'content-length'])
        for (const length of [5, 200_000]) {
          const text = head('POST /acme/ab/x HTTP/1.1', 'Host: x', 'Connection: close', `${name}: ${length}`);
          assert.equal(await sent(text + 'b'.repeat(length)), 200);
          const lengths = last().rawHeaders.filter(
            (h, i) => i % 2 === 0 && h.toLowerCase() === 'content-length',
          );
          assert.equal(lengths.length, 1);
        }
    });

    it('CVE-2026-48931: an answer that nobody asked for is nobody’s', async () => {
      const sockets = new Set<Socket>();
      const answer = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      const poisoner = createServer((socket) => {
        sockets.add(socket);
        socket.on('error', () => undefined);
        socket.on('data', () => {
          socket.write(answer('mine'));
          // Once the connection is idle in the pool; or in the same breath, which is the harder case.
          socket.write(answer('evil'));
          setTimeout(() => socket.writable && socket.write(answer('evil')), 20);
        });
      }).listen(0, '127.0.0.1');
      await eventually('listening', () => poisoner.listening);
      const port = (poisoner.address() as { port: number }).port;
      const poisoned = await world.addEndpoint();
      await world.addReplica(poisoned, `127.0.0.1:${port}`);
      await eventually('routed', async () => (await ask(gateway.port, poisoned.path)).status === 200);
      let mine = 0;
      for (let round = 0; round < 20; round++) {
        const { status, body } = await ask(gateway.port, poisoned.path);
        assert.ok(body === 'mine' || status === 502, body);
        if (body === 'mine') mine += 1;
        await new Promise((resolve) => setTimeout(resolve, round % 2 ? 30 : 0));
      }
      assert.ok(mine > 10, `${mine} of 20 got their answer`);
      for (const socket of sockets) socket.destroy();
      poisoner.close();
    });

    it('CVE-2021-22959, CVE-2022-32213 to 32215, CVE-2022-35256, CVE-2023-30589, CVE-2024-27982, CVE-2025-23167: no reading of a message lets a second one through', async () => {
      const evil = head('GET /acme/ab/evil HTTP/1.1', 'Host: x');
      const shapes = [
        `POST /acme/ab/x HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n\r\n${evil}`,
        `POST /acme/ab/x HTTP/1.1\r\nHost: x\r\n Content-Length: 0\r\n\r\n${evil}`,
        `POST /acme/ab/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunkedchunked\r\n\r\n0\r\n\r\n${evil}`,
        `POST /acme/ab/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n${evil}`,
        `POST /acme/ab/x HTTP/1.1\r\nHost: x\r\nX:\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${evil}`,
        `POST /acme/ab/x HTTP/1.1\r\nHost: x\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${evil}`,
        `POST /acme/ab/x HTTP/1.1\r\nHost: x\r\nX: y\r\n\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${evil}`,
        `POST /acme/ab/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n${evil}`,
        `POST /acme/ab/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1 \n\r\n\r\n${evil}`,
      ];
      for (const shape of shapes)
        assert.equal(statuses(await raw(gateway.port, shape))[0], 400, shape.slice(24));
      assert.ok(!upstream.requests.some(({ url }) => url === '/evil'));
    });

    it('__proto__ is a name like any other, in paths, queries, headers and bodies', async () => {
      const body = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}';
      const headers = { 'content-type': 'application/json', constructor: 'c' };
      assert.equal(
        (await ask(gateway.port, `${endpoint.path}/__proto__?__proto__[polluted]=1`, { headers, body }))
          .status,
        200,
      );
      assert.deepEqual([last().url, last().body], ['/__proto__?__proto__[polluted]=1', body]);
      const own = head(
        'GET /acme/ab/x HTTP/1.1',
        'Host: x',
        'Connection: close',
        '__proto__: 1',
        'hasOwnProperty: 1',
      );
      assert.equal(await sent(own), 200);
      assert.ok(last().rawHeaders.includes('__proto__'));
      for (const path of ['/__proto__/x', '/acme/__proto__', '/constructor/prototype', '/acme/constructor'])
        assert.equal((await ask(gateway.port, path)).status, 404, path);
      assert.equal(({} as Record<string, unknown>).polluted, undefined);
    });

    it('more headers than anyone needs neither cut the message short nor get past the limit', async () => {
      const many = Array.from({ length: 5000 }, (_, n) => `${(n % 36).toString(36)}:`);
      const text = head(
        'POST /acme/ab/x HTTP/1.1',
        'Host: x',
        'Connection: close',
        'Content-Length: 5',
        ...many,
      );
      const status = await sent(`${text}hello`);
      assert.ok(status === 200 || status === 431, String(status));
      if (status === 200) assert.equal(last().body, 'hello');
    });
  });
});
