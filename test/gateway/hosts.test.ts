import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { pino } from 'pino';
import { hostLabel } from '../../spec/names.ts';
import { eventually } from '../support/eventually.ts';
import { skip } from '../support/needs.ts';
import { ask, bearer, raw } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, seesRoutes, type TestEndpoint, type World } from './world.ts';

const DOMAIN = 'inference.example.org';

describe('gateway: host names and certificates', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  let endpoint: TestEndpoint;
  let dir: string;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'gateway-hosts-'));
    world = await createWorld();
    upstream = await startUpstream();
    endpoint = await world.addEndpoint({ name: 'chat' });
    await world.addReplica(endpoint, upstream.address);
    gateway = await world.startGateway({ config: { domain: DOMAIN } });
    await seesRoutes(world, gateway);
  });
  after(async () => {
    await world.close();
    await upstream.close();
    rmSync(dir, { recursive: true, force: true });
  });
  const at = (host: string, path: string, headers = {}) =>
    ask(gateway.port, path, { headers: { host, ...headers } });

  it('lead to an endpoint by its id and by its name, with the whole path for the engine', async () => {
    for (const host of [
      `${hostLabel(endpoint.id)}.${DOMAIN}`,
      `chat.acme.${DOMAIN}`,
      `CHAT.Acme.${DOMAIN}:8090`,
      `chat.acme.${DOMAIN}.`,
    ]) {
      const answer = await at(host, '/v1/models?a=1');
      assert.deepEqual([answer.status, JSON.parse(answer.body).url], [200, '/v1/models?a=1'], host);
      assert.equal(upstream.requests.at(-1)?.headers['x-forwarded-prefix'], undefined);
      assert.equal(upstream.requests.at(-1)?.headers['x-forwarded-host'], host);
    }
    const health = await at(`chat.acme.${DOMAIN}`, '/health');
    assert.equal(JSON.parse(health.body).url, '/health', 'the engine’s, not the gateway’s');
    assert.equal(JSON.parse((await at(`chat.acme.${DOMAIN}`, '/')).body).url, '/');
  });

  it('lead nowhere when there is no such endpoint, and leave paths below the domain itself alone', async () => {
    for (const host of [`other.acme.${DOMAIN}`, `x.${DOMAIN}`, `chat.acme.x.${DOMAIN}`])
      assert.equal((await at(host, `${endpoint.path}/x`)).status, 404, host);
    for (const host of [DOMAIN, 'localhost', `chat.acme.not${DOMAIN}`, `chatacme${DOMAIN}`]) {
      const answer = await at(host, `${endpoint.path}/x`);
      assert.deepEqual([answer.status, JSON.parse(answer.body).url], [200, '/x'], host);
      assert.equal(upstream.requests.at(-1)?.headers['x-forwarded-prefix'], endpoint.path);
    }
    for (const target of ['http://a/b', '*', '/a/../b', '/%2e%2e/b'])
      assert.match(
        await raw(
          gateway.port,
          `OPTIONS ${target} HTTP/1.1\r\nHost: chat.acme.${DOMAIN}\r\nConnection: close\r\n\r\n`,
        ),
        /^HTTP\/1\.1 400 /,
        target,
      );
  });

  it('may be domains of the owners, with a domain of the site and without', async () => {
    const own = await world.addEndpoint({ name: 'own', domain: 'Chat.Example.NET' });
    await world.addReplica(own, upstream.address);
    // Stored before there were rules for them: nobody's, or everybody's.
    for (const domain of [
      'twice.example.net',
      'twice.example.net',
      'localhost',
      '127.0.0.1',
      'gw.example.net',
    ])
      await world.addReplica(await world.addEndpoint({ domain }), upstream.address);
    const plain = await world.startGateway({
      config: { publicUrl: 'https://public.example.net', ownHosts: ['gw.example.net'] },
    });
    await seesRoutes(world, plain);
    await seesRoutes(world, gateway);
    for (const { port } of [plain, gateway]) {
      const reached = async (host: string, path: string) => {
        const { status, body } = await ask(port, path, { headers: { host } });
        return [status, JSON.parse(body).url];
      };
      for (const host of ['chat.example.net', 'CHAT.example.net:8090', 'chat.example.net.'])
        assert.deepEqual(await reached(host, '/acme/chat/x?a=1'), [200, '/acme/chat/x?a=1'], host);
      assert.equal(upstream.requests.at(-1)?.headers['x-forwarded-prefix'], undefined);
      assert.deepEqual(await reached('chat.example.net', '/health'), [200, '/health']);
      for (const host of ['twice.example.net', 'localhost', '127.0.0.1', 'x.chat.example.net', 'example.net'])
        assert.deepEqual(await reached(host, '/acme/chat/x'), [200, '/x'], host);
    }
    const byPath = await ask(plain.port, '/acme/chat/x', { headers: { host: 'gw.example.net' } });
    assert.equal(JSON.parse(byPath.body).url, '/x', 'a name of the gateways is no endpoint’s');
    await world.setState(own, 'running', 'deleted');
    await eventually('free again', async () => {
      const { body } = await ask(plain.port, '/acme/chat/x', { headers: { host: 'chat.example.net' } });
      return JSON.parse(body).url === '/x';
    });
    await plain.close();
  });

  it('need the same token as the path', async () => {
    const locked = await world.addEndpoint({ name: 'locked', type: 'private' });
    await world.addReplica(locked, upstream.address);
    await seesRoutes(world, gateway);
    const token = await world.token();
    assert.equal((await at(`locked.acme.${DOMAIN}`, '/')).status, 401);
    await eventually(
      'let in',
      async () => (await at(`locked.acme.${DOMAIN}`, '/', bearer(token))).status === 200,
    );
  });

  it('have certificates: the one that fits the name, read again when its file changes', async function () {
    if (spawnSync('openssl', ['version']).status !== 0) skip(this, 'openssl makes the certificates');
    const [wild, other] = [certificate('wild', `*.${DOMAIN}`), certificate('other', 'other.example.net')];
    const lines: string[] = [];
    const secure = await world.startGateway({
      config: { domain: DOMAIN, tls: { certificates: [wild, other] } },
      log: pino({ base: null }, { write: (line: string) => void lines.push(line) }),
    });
    const answer = await overTls(secure.port, `${hostLabel(endpoint.id)}.${DOMAIN}`, '/v1');
    assert.deepEqual(answer, { status: 200, url: '/v1' });
    assert.equal(upstream.requests.at(-1)?.headers['x-forwarded-proto'], 'https');
    const shown = async (host: string) => (await subjectOf(secure.port, host)).name;
    assert.equal(await shown(`x.${DOMAIN}`), 'wild');
    assert.equal(await shown('other.example.net'), 'other');
    assert.equal(await shown('unknown.example.com'), 'wild');
    const { serial } = await subjectOf(secure.port, `x.${DOMAIN}`);
    const next = certificate('next', `*.${DOMAIN}`);
    renameSync(next.keyFile, wild.keyFile);
    renameSync(next.certFile, wild.certFile);
    await eventually('renewed', async () => (await subjectOf(secure.port, `x.${DOMAIN}`)).serial !== serial);
    assert.equal(await shown(`x.${DOMAIN}`), 'next');
    lines.length = 0;
    writeFileSync(wild.certFile, 'broken');
    await eventually('seen', () => lines.some((line) => line.includes('changed certificate not taken over')));
    assert.equal(await shown(`x.${DOMAIN}`), 'next', 'what cannot be used changes nothing');
    await secure.close();
  });

  it('say which file is wrong', () => {
    const missing = { certFile: join(dir, 'none.pem'), keyFile: join(dir, 'none.key') };
    return assert.rejects(
      world.startGateway({ config: { tls: { certificates: [missing] } } }),
      /the certificate .*none\.pem .* cannot be used/,
    );
  });

  function certificate(name: string, host: string): { certFile: string; keyFile: string } {
    const [certFile, keyFile] = [join(dir, `${name}.pem`), join(dir, `${name}.key`)];
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
        .concat(['-keyout', keyFile, '-out', certFile, '-subj', `/CN=${name}`])
        .concat(['-addext', `subjectAltName=DNS:${host}`]),
      { stdio: 'pipe' },
    );
    return { certFile, keyFile };
  }

  function overTls(port: number, servername: string, path: string): Promise<{ status: number; url: string }> {
    return new Promise((resolve, reject) => {
      const options = {
        host: '127.0.0.1',
        port,
        path,
        servername,
        headers: { host: servername },
        agent: false,
      };
      request({ ...options, rejectUnauthorized: false }, (res) => {
        text(res).then((body) => resolve({ status: res.statusCode ?? 0, url: JSON.parse(body).url }), reject);
      })
        .on('error', reject)
        .end();
    });
  }

  function subjectOf(port: number, servername: string): Promise<{ name: string; serial: string }> {
    return new Promise((resolve, reject) => {
      const socket: TLSSocket = tlsConnect(
        { host: '127.0.0.1', port, servername, rejectUnauthorized: false },
        () => {
          const { subject, serialNumber } = socket.getPeerCertificate();
          socket.destroy();
          resolve({ name: String(subject.CN), serial: serialNumber });
        },
      );
      socket.on('error', reject);
    });
  }
});
