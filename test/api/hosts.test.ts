import assert from 'node:assert/strict';
import { listHosts, setHostState } from '../../store/hosts.ts';
import { createBody, type TestApi, testApi } from './support.ts';

const GIB = 1024 ** 3;

describe('api: hosts', () => {
  let api: TestApi;
  let agent: string;
  before(async () => {
    api = await testApi();
    agent = await api.tokenFor('alice', 'agent');
  });
  after(() => api.close());

  const host = (hostId: string, change: Record<string, unknown> = {}) => ({
    hostId,
    name: 'laptop',
    address: '127.0.0.1',
    publicKey: { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' },
    inventory: {
      cpus: 2,
      memoryBytes: 8 * GIB,
      diskFreeBytes: 10 * GIB,
      gpus: [],
      dockerVersion: '28.0',
      os: 'linux',
    },
    vendor: 'docker',
    region: 'local',
    ...change,
  });
  const send = (url: string, body: unknown) =>
    api.call('POST', url, body, { headers: { authorization: `Bearer ${agent}` } });
  const join = (body: unknown) => send('/internal/hosts/join', body);
  const all = async () => (await listHosts(api.store)).map((h) => [h.id, h.state, h.name]);

  it('takes a host in, starts its workflow, and says how to work with it', async () => {
    const { status, body } = await join(host('h1'));
    assert.equal(status, 200);
    const { id } = await api.store.selectFrom('installation').select('id').executeTakeFirstOrThrow();
    assert.deepEqual(body, {
      hostId: 'h1',
      installation: id,
      temporal: { address: '127.0.0.1:7233', namespace: 'default' },
      hub: { endpoint: api.config.hub.endpoint },
    });
    assert.ok(api.notify.told.includes('host h1'));
    const [stored] = await listHosts(api.store);
    assert.equal(stored?.provider, 'docker');
    assert.deepEqual(stored?.publicKey, host('h1').publicKey);
  });

  it("keeps what a host's driver says of its GPUs, and tells an agent which images may be started", async () => {
    const gpus = [{ index: 1, model: 'NVIDIA L4', memoryBytes: 24 * GIB, uuid: 'GPU-1', mig: true }];
    const gpuDriver = { version: '580.65.06', cuda: '13.0' };
    const { inventory } = host('h0');
    assert.equal((await join(host('h0', { inventory: { ...inventory, gpus, gpuDriver } }))).status, 200);
    const stored = (await listHosts(api.store)).find(({ id }) => id === 'h0');
    assert.deepEqual([stored?.inventory.gpus, stored?.inventory.gpuDriver], [gpus, gpuDriver]);

    const { status, body } = await send('/internal/hosts/h0/live-images', {});
    assert.deepEqual([status, body], [200, { images: [] }]);
    assert.equal((await api.call('POST', '/internal/hosts/h0/live-images', {})).status, 403);
  });

  it('takes a lost host back with what it reports now', async () => {
    await join(host('h2'));
    assert.equal(await setHostState(api.store, 'h2', 'lost'), true);
    await join(host('h2', { name: 'renamed' }));
    assert.deepEqual((await all()).at(-1), ['h2', 'ready', 'renamed']);
    assert.equal(await setHostState(api.store, 'nobody', 'lost'), false);
  });

  it('tells an agent to come back when Temporal is down', async () => {
    api.notify.down = true;
    const { status, body } = await join(host('h3'));
    api.notify.down = false;
    assert.equal(status, 503);
    assert.match(body.error, /Temporal at 127\.0\.0\.1:7233 does not answer/);
    // Not in service, or the next join would be nothing new to its workflow.
    assert.deepEqual((await all()).at(-1)?.slice(0, 2), ['h3', 'lost']);
    assert.equal((await join(host('h3'))).status, 200);
    assert.deepEqual((await all()).at(-1)?.slice(0, 2), ['h3', 'ready']);
  });

  for (const [what, field, change] of [
    ['an id that is no id', 'hostId', { hostId: 'Bad Host' }],
    ['hardware that is not in the catalogue', 'mars', { region: 'mars' }],
    ['a private key', 'publicKey', { publicKey: { kty: 'EC', d: 'secret' } }],
    ['no inventory', 'inventory', { inventory: undefined }],
  ] as const) {
    it(`refuses ${what}`, async () => {
      const before = await all();
      const { status, body } = await join(host('bad', change));
      assert.equal(status, 400);
      assert.ok(body.error.includes(field), body.error);
      assert.deepEqual(await all(), before);
    });
  }

  it('counts what fits on ready hosts, and what runs, as the quota of a namespace', async () => {
    await api.store.updateTable('hosts').set({ state: 'lost' }).where('id', '<>', 'h1').execute();
    const quotaOf = async (size: string) => {
      const { body } = await api.call('GET', '/v2/provider/alice');
      const { computes } = body.vendors[0].regions[0];
      return computes.find((c: { instanceSize: string }) => c.instanceSize === size).quota;
    };
    // 2 CPUs promised twice over make 4; 8 GiB hold four replicas of 2 GiB.
    assert.deepEqual(await quotaOf('x1'), { maxAccelerators: 4, usedAccelerators: 0 });
    await api.call('POST', '/v2/endpoint/alice', createBody('user-of-h1'));
    const { id } = await api.store.selectFrom('endpoints').select('id').executeTakeFirstOrThrow();
    await api.store
      .insertInto('replicas')
      .values({
        id: 'r-1',
        endpoint_id: id,
        number: 1,
        revision: 1,
        stage: 'running',
        host_id: 'h1',
        failure: null,
      })
      .execute();
    await api.store
      .insertInto('allocations')
      .values({ replica_id: 'r-1', host_id: 'h1', cpus: 1, memory_bytes: 2 * GIB, gpus: [] })
      .execute();
    assert.deepEqual(await quotaOf('x1'), { maxAccelerators: 4, usedAccelerators: 1 });
    assert.deepEqual(await quotaOf('x8'), { maxAccelerators: 0, usedAccelerators: 0 });
  });

  describe('progress', () => {
    const stageOf = () =>
      api.store
        .selectFrom('replicas')
        .select(['stage', 'message'])
        .where('id', '=', 'r-2')
        .executeTakeFirstOrThrow();
    const report = async (stage: string, message: string, hostId = 'h1') => {
      const { status, body } = await send(`/internal/hosts/${hostId}/progress`, {
        replicaId: 'r-2',
        stage,
        message,
      });
      assert.equal(status, 200, JSON.stringify(body));
      return body.updated;
    };
    before(async () => {
      const { id } = await api.store.selectFrom('endpoints').select('id').executeTakeFirstOrThrow();
      await api.store
        .insertInto('replicas')
        .values({
          id: 'r-2',
          endpoint_id: id,
          number: 2,
          revision: 1,
          stage: 'pending',
          host_id: 'h1',
          failure: null,
        })
        .execute();
    });

    it('shows in the status of the endpoint', async () => {
      assert.equal(await report('downloading', 'downloading 43 of 98 MB'), true);
      await api.store.updateTable('endpoints').set({ state: 'initializing' }).execute();
      const { body } = await api.call('GET', '/v2/endpoint/alice/user-of-h1');
      assert.equal(body.status.message, 'downloading 43 of 98 MB');
    });

    it('is not taken from another host', async () => {
      assert.equal(await report('initializing', 'lies', 'h2'), false);
      assert.equal((await stageOf()).stage, 'downloading');
    });

    it('never puts a replica back', async () => {
      assert.equal(await report('initializing', 'starting engine'), true);
      assert.equal(await report('downloading', 'late'), false);
      for (const stage of ['running', 'stopping', 'failed'] as const) {
        await api.store.updateTable('replicas').set({ stage }).where('id', '=', 'r-2').execute();
        assert.equal(await report('initializing', 'late'), false);
        assert.equal((await stageOf()).stage, stage);
      }
    });

    it('of a stage that hosts do not report is refused', async () => {
      const { status, body } = await send('/internal/hosts/h1/progress', {
        replicaId: 'r-2',
        stage: 'running',
        message: '',
      });
      assert.equal(status, 400);
      assert.match(body.error, /stage/);
    });
  });
});
