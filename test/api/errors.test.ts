import assert from 'node:assert/strict';
import { connect } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { createControlApi } from '../../api/control/server.ts';
import { openStore } from '../../store/database.ts';
import { freePort } from '../support/ports.ts';
import {
  createBody,
  hub,
  RecordingNotifier,
  RecordingScheduler,
  silent,
  type TestApi,
  testApi,
} from './support.ts';

describe('api: refusals', () => {
  let api: TestApi;
  before(async () => {
    api = await testApi();
  });
  after(() => api.close());

  const raw = (payload: string, contentType = 'application/json') =>
    api.call('POST', '/v2/endpoint/alice', undefined, {
      headers: { authorization: `Bearer ${api.token}`, 'content-type': contentType },
      payload,
    });

  it('answers broken JSON with 400', async () => {
    for (const text of [
      '{"name":',
      'nonsense',
      '{"a":1}}',
      '{"__proto__":{}}',
      '{"a":{"constructor":{"prototype":1}}}',
    ]) {
      const { status, body } = await raw(text);
      assert.equal(status, 400, text);
      assert.equal(body.error, 'the body is not valid JSON');
      assert.equal(body.code, 'VALIDATION_FAILED');
    }
  });

  it('answers a body over the limit with 413', async () => {
    const { status, body } = await raw(JSON.stringify({ x: 'y'.repeat(api.config.api.bodyLimitBytes) }));
    assert.equal(status, 413);
    assert.equal(body.code, 'TOO_LARGE');
  });

  it('answers another kind of body with 415 and no body with 400', async () => {
    const xml = await raw('<a/>', 'application/xml');
    assert.equal(xml.status, 415);
    assert.match(xml.body.error, /application\/json/);
    const none = await raw('');
    assert.equal(none.status, 400);
    assert.match(none.body.error, /body: is missing/);
  });

  it('answers an unknown route, and a known one with another method, with 404 in JSON', async () => {
    for (const [method, url] of [
      ['GET', '/v9/nothing'],
      ['PATCH', '/v2/endpoint/alice/x'],
    ] as const) {
      const { status, body } = await api.call(method, url);
      assert.equal(status, 404);
      assert.ok(body.error.includes(`${method} ${url}`));
      assert.equal(body.code, 'NOT_FOUND');
    }
  });

  it('answers a path that cannot be decoded with 400 in JSON and a request id', async () => {
    const { status, body, headers } = await api.call('GET', '/v2/endpoint/%E0%A4%A');
    assert.equal(status, 400);
    assert.equal(body.code, 'VALIDATION_FAILED');
    assert.ok(headers['x-request-id']);
  });

  it("gives every answer a request id: the caller's own when it is fit, else a new one", async () => {
    const ask = async (id: string) =>
      (
        await api.call('GET', '/v2/endpoint/alice', undefined, {
          headers: { authorization: `Bearer ${api.token}`, 'x-request-id': id },
        })
      ).headers['x-request-id'];
    assert.equal(await ask('build-42/step:7'), 'build-42/step:7');
    for (const unfit of ['with space', 'x'.repeat(200), 'a"b', ''])
      assert.match(String(await ask(unfit)), /^[0-9a-f-]{36}$/);
  });

  it('keeps the error header printable', async () => {
    const { status, body, headers } = await api.call(
      'POST',
      '/v2/endpoint/alice',
      createBody('ok', { top: { type: 'größe\r\nX-Evil: 1' } }),
    );
    assert.equal(status, 400);
    assert.match(body.error, /größe/);
    assert.match(String(headers['x-error-message']), /^[\x20-\x7e]+$/);
    assert.equal(headers['x-evil'], undefined);
  });

  it('refuses text that cannot be stored, wherever it stands', async () => {
    const lone = '{"name":"a","type":"\\ud800"}';
    assert.equal((await raw(lone)).status, 400);
    assert.equal((await api.call('GET', '/v2/endpoint/alice/a%00b')).status, 400);
    const text = `{"experimentalFeatures":{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}}`;
    const { status, body } = await api.call('PUT', '/v2/endpoint/alice/x', undefined, {
      headers: { authorization: `Bearer ${api.token}`, 'content-type': 'application/json' },
      payload: text,
    });
    assert.equal(status, 400);
    assert.match(body.error, /levels deep/);
  });

  it('answers a request that is not HTTP without falling over', async () => {
    const port = await freePort();
    await api.app.listen({ host: '127.0.0.1', port });
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => socket.write('NONSENSE\r\n\r\n'));
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk;
      });
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
    assert.match(answer, /^HTTP\/1\.1 400/);
    const after = await fetch(`http://127.0.0.1:${port}/health`);
    assert.deepEqual(await after.json(), { status: 'ok' });
  });

  describe('while the database is away', () => {
    let app: FastifyInstance;
    let close: () => Promise<void>;
    before(async () => {
      const store = openStore(`postgresql://postgres@127.0.0.1:${await freePort()}/postgres`);
      app = createControlApi({
        store,
        vault: api.vault,
        config: api.config,
        temporal: { address: 'x', namespace: 'y' },
        hub,
        notify: new RecordingNotifier(),
        schedules: new RecordingScheduler(),
        gatewayUrl: 'http://127.0.0.1:1',
        log: silent,
      });
      close = async () => {
        await app.close();
        await store.destroy();
      };
    });
    after(() => close());

    it('says so with 503 and when to come back, and tells nothing internal', async () => {
      const response = await app.inject({
        url: '/v2/endpoint/alice',
        headers: { authorization: 'Bearer hf_x' },
      });
      assert.equal(response.statusCode, 503);
      assert.deepEqual(response.json(), {
        error: 'the database does not answer: try again in a moment',
        code: 'UNAVAILABLE',
      });
      assert.ok(response.headers['retry-after']);
    });

    it('still says that the process is there', async () => {
      assert.equal((await app.inject({ url: '/health' })).statusCode, 200);
    });
  });

  it('answers a mistake of its own with 500 and the request id, and nothing internal', async () => {
    const broken = await testApi({
      hub: { ...hub, resolveModel: async () => ({ commit: 'x', files: [{ boom: 1 }] }) as never },
    });
    try {
      const { status, body, headers } = await broken.call('POST', '/v2/endpoint/alice', createBody('boom'));
      assert.equal(status, 500);
      assert.equal(body.code, 'INTERNAL');
      assert.ok(body.error.includes(String(headers['x-request-id'])));
      assert.doesNotMatch(JSON.stringify(body), /TypeError|undefined|\.ts|boom/);
    } finally {
      await broken.close();
    }
  });
});
