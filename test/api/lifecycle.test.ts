import assert from 'node:assert/strict';
import type { EndpointState } from '../../spec/states.ts';
import { createBody, type TestApi, testApi } from './support.ts';

describe('api: pause, resume, scale to zero, delete', () => {
  let api: TestApi;
  let count = 0;
  before(async () => {
    api = await testApi();
  });
  after(() => api.close());

  const row = (name: string) =>
    api.store.selectFrom('endpoints').selectAll().where('name', '=', name).executeTakeFirstOrThrow();
  const made = async (state: EndpointState = 'running') => {
    const name = `life-${++count}`;
    await api.call('POST', '/v2/endpoint/alice', createBody(name, { scaling: { minReplica: 0 } }));
    await api.store
      .updateTable('endpoints')
      .set({ state, ready_replica: 1, observed_generation: 1, message: 'Endpoint is ready' })
      .where('name', '=', name)
      .execute();
    return name;
  };
  const post = (name: string, verb: string) => api.call('POST', `/v2/endpoint/alice/${name}/${verb}`);

  it('pauses at once: no url, no replicas, and again without effect', async () => {
    const name = await made();
    const { status, body } = await post(name, 'pause');
    assert.equal(status, 200);
    assert.equal(body.status.state, 'paused');
    assert.equal(body.status.url, null);
    assert.equal(body.status.readyReplica, 0);
    assert.equal(body.status.targetReplica, 0);
    const before = await row(name);
    assert.equal(before.phase, 'paused');
    const again = await post(name, 'pause');
    assert.equal(again.status, 200);
    assert.deepEqual(await row(name), before);
  });

  it('shows a paused endpoint as paused even where an older look of its workflow is written after', async () => {
    const name = await made();
    await post(name, 'pause');
    await api.store.updateTable('endpoints').set({ state: 'running' }).where('name', '=', name).execute();
    const { body } = await api.call('GET', `/v2/endpoint/alice/${name}`);
    assert.equal(body.status.state, 'paused');
    assert.equal(body.status.url, null);
  });

  it('resumes a paused endpoint to pending, keeping its scaling, and again without effect', async () => {
    const name = await made();
    const { body: before } = await post(name, 'pause');
    const { status, body } = await post(name, 'resume');
    assert.equal(status, 200);
    assert.equal(body.status.state, 'pending');
    assert.ok(body.status.url);
    assert.deepEqual(body.compute, before.compute);
    const stored = await row(name);
    assert.equal(stored.target_replica, 1);
    assert.equal((await post(name, 'resume')).status, 200);
    assert.deepEqual(await row(name), stored);
  });

  it('refuses to resume a running endpoint in the words clients look for', async () => {
    for (const state of ['running', 'updating'] as const) {
      const name = await made(state);
      const { status, body } = await post(name, 'resume');
      assert.equal(status, 400);
      assert.match(body.error, /already running/);
      assert.equal((await row(name)).generation, 1);
    }
  });

  it('resumes what failed by trying it again', async () => {
    const failed = await made('failed');
    assert.equal((await post(failed, 'resume')).body.status.state, 'pending');
    assert.equal((await row(failed)).generation, 2);
    const half = await made('updateFailed');
    assert.equal((await post(half, 'resume')).body.status.state, 'updating');
    assert.equal((await row(half)).generation, 2);
  });

  it('wakes a sleeping endpoint that is resumed', async () => {
    const name = await made('scaledToZero');
    const { body } = await post(name, 'resume');
    assert.equal(body.status.state, 'pending');
    assert.ok(api.notify.told.includes(`alice/${name} wake`));
  });

  it('scales to zero at once, keeping the url, and again without effect', async () => {
    const name = await made();
    const { status, body } = await post(name, 'scale-to-zero');
    assert.equal(status, 200);
    assert.equal(body.status.state, 'scaledToZero');
    assert.ok(body.status.url);
    const before = await row(name);
    assert.equal(before.sleep_generation, 2);
    assert.equal(before.generation, 2);
    assert.equal((await post(name, 'scale-to-zero')).status, 200);
    assert.deepEqual(await row(name), before);
  });

  it('refuses to scale a paused endpoint to zero, and says what to do', async () => {
    const name = await made();
    await post(name, 'pause');
    const { status, body } = await post(name, 'scale-to-zero');
    assert.equal(status, 400);
    assert.match(body.error, /paused.*resume it first/);
  });

  it('deletes: gone for readers at once, kept for the workflow to clear away, and again without effect', async () => {
    const name = await made();
    const { status, body } = await api.call('DELETE', `/v2/endpoint/alice/${name}`);
    assert.equal(status, 200);
    assert.deepEqual(body, {});
    assert.equal((await api.call('GET', `/v2/endpoint/alice/${name}`)).status, 404);
    const list = await api.call('GET', '/v2/endpoint/alice');
    assert.ok(!list.body.items.some((item: { name: string }) => item.name === name));
    const before = await row(name);
    assert.equal(before.phase, 'deleted');
    assert.equal((await api.call('DELETE', `/v2/endpoint/alice/${name}`)).status, 200);
    assert.deepEqual(await row(name), before);
    for (const verb of ['pause', 'resume', 'scale-to-zero'])
      assert.equal((await post(name, verb)).status, 404);
    assert.equal((await api.call('PUT', `/v2/endpoint/alice/${name}`, {})).status, 404);
  });

  it('answers 404, naming the endpoint, for one that does not exist', async () => {
    const calls = [
      api.call('GET', '/v2/endpoint/alice/nobody'),
      api.call('PUT', '/v2/endpoint/alice/nobody', {}),
      api.call('DELETE', '/v2/endpoint/alice/nobody'),
      api.call('GET', '/v2/endpoint/alice/nobody/replica'),
      ...['pause', 'resume', 'scale-to-zero'].map((verb) => post('nobody', verb)),
    ];
    for (const { status, body } of await Promise.all(calls)) {
      assert.equal(status, 404);
      assert.equal(body.error, "endpoint 'alice/nobody' does not exist");
      assert.equal(body.code, 'NOT_FOUND');
    }
  });

  it('takes an empty body with and without a JSON content type', async () => {
    const name = await made();
    const headers = { authorization: `Bearer ${api.token}` };
    const bare = await api.call('POST', `/v2/endpoint/alice/${name}/pause`, undefined, {
      headers: { ...headers, 'content-length': '0' },
    });
    const go = await api.call('POST', `/v2/endpoint/alice/${name}/resume`, undefined, {
      headers: { ...headers, 'content-length': '0', 'content-type': 'application/json' },
    });
    const gone = await api.call('DELETE', `/v2/endpoint/alice/${name}`, undefined, {
      headers: { ...headers, 'content-type': 'application/json' },
    });
    assert.deepEqual([bare.status, go.status, gone.status], [200, 200, 200]);
  });

  it('makes one change of many pauses at once', async () => {
    const name = await made();
    const answers = await Promise.all(Array.from({ length: 10 }, () => post(name, 'pause')));
    assert.deepEqual(new Set(answers.map((a) => a.status)), new Set([200]));
    assert.equal((await row(name)).generation, 2);
    const { body } = await api.call('GET', `/v2/audit-logs/alice?endpoint=${name}`);
    assert.deepEqual(
      body.list.map((entry: { action: string }) => entry.action),
      ['endpoint.pause', 'endpoint.create'],
    );
  });

  it('shows replicas, and what the newest one on its way says as the status message', async () => {
    const name = await made('initializing');
    const { id } = await row(name);
    await api.store
      .insertInto('replicas')
      .values([
        {
          id: `${id.slice(0, 8)}-1`,
          endpoint_id: id,
          number: 1,
          revision: 1,
          stage: 'failed',
          failure: JSON.stringify({ code: 'CONTAINER_EXITED', message: 'ended', exitCode: 3 }),
          stopped_at: new Date(),
        },
        {
          id: `${id.slice(0, 8)}-2`,
          endpoint_id: id,
          number: 2,
          revision: 1,
          stage: 'downloading',
          message: 'downloading 43 of 98 MB',
          failure: null,
          stopped_at: null,
        },
      ])
      .execute();
    const { body } = await api.call('GET', `/v2/endpoint/alice/${name}`);
    assert.equal(body.status.message, 'downloading 43 of 98 MB');
    const { body: replicas } = await api.call('GET', `/v2/endpoint/alice/${name}/replica`);
    assert.deepEqual(
      replicas.items.map((item: { status: { stage: string; live: boolean; exitCode: number | null } }) => [
        item.status.stage,
        item.status.live,
        item.status.exitCode,
      ]),
      [
        ['downloading', true, null],
        ['failed', false, 3],
      ],
    );
  });
});
