import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { beginReplica, loadDesired, reportReplica } from '../../store/lifecycle.ts';
import { chooseToFree, type FrozenReplica, type HostRoom, reservePlace } from '../../store/placement.ts';
import { addRoute, openReplica, startDraining, stopDraining } from '../../store/routes.ts';
import { restReplica, retakePlace } from '../../store/standby.ts';
import { eventually } from '../support/eventually.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const GIB = 1024 ** 3;
const LIMITS = { maxStartFailures: 3, retryBaseMs: 1, retryMaxMs: 1 };
const SITE = { limits: LIMITS, bake: { seconds: 60, requests: 500, maxErrorPercent: 5 } };

describe('placement: room held by frozen replicas', () => {
  const host = (id: string, usedGib: number): HostRoom => ({
    id,
    cpus: 4,
    memoryBytes: 8 * GIB,
    gpus: [],
    usedCpus: 0,
    usedMemoryBytes: usedGib * GIB,
    usedGpus: [],
  });
  const frozen = (number: number, hostId: string, gib: number): FrozenReplica => ({
    replicaId: `r${number}`,
    namespace: 'ns',
    name: 'e',
    number,
    hostId,
    memoryBytes: gib * GIB,
    gpus: [],
  });
  const need = (gib: number) => ({ cpus: 1, memoryBytes: gib * GIB, gpus: 0 });
  const ids = (chosen: FrozenReplica[]) => chosen.map((f) => f.replicaId);

  it('is freed oldest first, and no more of it than is needed', () => {
    const three = [frozen(1, 'a', 2), frozen(2, 'a', 2), frozen(3, 'a', 2)];
    assert.deepEqual(ids(chooseToFree([host('a', 8)], three, need(1), 1)), ['r1']);
    assert.deepEqual(ids(chooseToFree([host('a', 8)], three, need(4), 1)), ['r1', 'r2']);
  });

  it('is left alone when freeing all of it would not help', () => {
    assert.deepEqual(chooseToFree([host('a', 8)], [frozen(1, 'a', 2)], need(4), 1), []);
    assert.deepEqual(chooseToFree([host('a', 8)], [frozen(1, 'elsewhere', 8)], need(4), 1), []);
    const busy = { ...host('a', 8), usedCpus: 4 };
    assert.deepEqual(chooseToFree([busy], [frozen(1, 'a', 8)], need(4), 1), []);
  });

  it('is freed on one host, the one where that is soonest enough', () => {
    const hosts = [host('a', 8), host('b', 8)];
    const both = [frozen(1, 'a', 1), frozen(2, 'b', 4), frozen(3, 'a', 4)];
    assert.deepEqual(ids(chooseToFree(hosts, both, need(4), 1)), ['r2']);
  });

  it('includes GPUs', () => {
    const gpuHost = { ...host('a', 4), gpus: [0, 1], usedGpus: [0, 1] };
    const holder = { ...frozen(1, 'a', 1), gpus: [1] };
    const wanted = { ...need(1), gpus: 1 };
    assert.deepEqual(ids(chooseToFree([gpuHost], [holder], wanted, 1)), ['r1']);
  });
});

describe('store: a replica at rest', () => {
  let db: TestDatabase;
  const endpointId = randomUUID();
  const need = { cpus: 2, memoryBytes: 4 * GIB, gpus: 1 };
  const want = { vendor: 'docker', region: 'local', need, cpuOvercommit: 1 };
  const vault = { encrypt: () => Buffer.from('x'), decrypt: () => 'x', engineKey: () => 'x' } as never;

  before(async () => {
    db = await testDatabase();
    await db.store.insertInto('namespaces').values({ name: 'ns', kind: 'user' }).execute();
    await db.store
      .insertInto('hosts')
      .values({
        id: 'h',
        name: 'h',
        provider: 'docker',
        vendor: 'docker',
        region: 'local',
        state: 'ready',
        address: '127.0.0.1',
        public_key: '{}',
        inventory: JSON.stringify({
          cpus: 2,
          memoryBytes: 8 * GIB,
          diskFreeBytes: 0,
          gpus: [0, 1].map((index) => ({ index, model: 'g', memoryBytes: GIB })),
          dockerVersion: '1',
          os: 'linux',
        }),
      })
      .execute();
    const spec = {
      compute: { scaling: { minReplica: 0, maxReplica: 1, standby: 'frozen' } },
      model: { image: { llamacpp: {} }, repository: 'm' },
    };
    await db.store
      .insertInto('endpoints')
      .values({
        id: endpointId,
        namespace: 'ns',
        name: 'e',
        spec: JSON.stringify(spec),
        secrets: null,
        phase: 'running',
        generation: 1,
        revision: 1,
        sleep_generation: 0,
        error_message: null,
        created_by: endpointId,
        updated_by: endpointId,
        last_used_at: null,
      })
      .execute();
  });
  after(() => db.drop());

  let number = 0;
  /** A replica that serves. */
  async function serving(): Promise<string> {
    number += 1;
    const replicaId = `r${number}`;
    await beginReplica(db.store, { replicaId, endpointId, number, revision: 1 });
    assert.deepEqual(await reservePlace(db.store, { ...want, replicaId }), { hostId: 'h' });
    await openReplica(db.store, vault, {
      replicaId,
      endpointId,
      address: '127.0.0.1:1',
      engineKey: 'k',
      message: 'serving',
    });
    return replicaId;
  }
  /** Two that hold all there is while they rest, the first one longest, and a third that finds no room. */
  async function noRoomFor(thirdNumber: number) {
    const first = await serving();
    await rest(first, 'frozen');
    const second = await serving();
    await rest(second, 'frozen');
    const third = `r${thirdNumber}`;
    await beginReplica(db.store, { replicaId: third, endpointId, number: thirdNumber, revision: 1 });
    return { first, second, third };
  }
  const row = (id: string) =>
    db.store.selectFrom('replicas').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  const place = (id: string) =>
    db.store
      .selectFrom('allocations')
      .select(['cpus', 'memory_bytes', 'gpus'])
      .where('replica_id', '=', id)
      .executeTakeFirst();
  const route = (id: string) =>
    db.store
      .selectFrom('routes')
      .select(['state', 'version'])
      .where('replica_id', '=', id)
      .executeTakeFirst();
  const rest = (replicaId: string, standby: 'stopped' | 'frozen') =>
    restReplica(db.store, { replicaId, standby, message: standby });
  const over = async (replicaId: string) => {
    await db.store.deleteFrom('allocations').where('replica_id', '=', replicaId).execute();
    await reportReplica(db.store, { replicaId, stage: 'stopped', message: '' });
  };

  it('frozen, it gives its CPUs back and keeps memory and GPUs; it wakes on the same ones', async () => {
    const id = await serving();
    assert.ok((await row(id)).ready_at);
    await rest(id, 'frozen');
    const { stage, standby, ready_at, host_id } = await row(id);
    assert.deepEqual([stage, standby, ready_at, host_id], ['standby', 'frozen', null, 'h']);
    assert.deepEqual(await place(id), { cpus: 0, memory_bytes: 4 * GIB, gpus: [0] });
    assert.equal(await route(id), undefined);
    const desired = await loadDesired(db.store, { namespace: 'ns', name: 'e' }, SITE);
    assert.equal(desired?.standby, 'frozen');
    assert.deepEqual(
      [desired?.liveReplicas[0]?.stage, desired?.liveReplicas[0]?.resting],
      ['standby', 'frozen'],
    );

    const other = await serving();
    assert.equal(await retakePlace(db.store, { ...want, replicaId: id }), null, 'its CPUs are taken');
    await over(other);
    for (let twice = 0; twice < 2; twice += 1)
      assert.deepEqual(await retakePlace(db.store, { ...want, replicaId: id }), { hostId: 'h', gpus: [0] });
    assert.deepEqual(await place(id), { cpus: 2, memory_bytes: 4 * GIB, gpus: [0] });
    assert.deepEqual([(await row(id)).stage, (await row(id)).standby], ['initializing', null]);
    await over(id);
  });

  it('stopped, it keeps nothing, and takes what is free when it wakes', async () => {
    const id = await serving();
    await rest(id, 'stopped');
    assert.equal(await place(id), undefined);
    const other = await serving();
    assert.equal(await retakePlace(db.store, { ...want, replicaId: id }), null);
    await rest(other, 'frozen');
    assert.deepEqual(await retakePlace(db.store, { ...want, replicaId: id }), { hostId: 'h', gpus: [1] });
    await over(id);
    await over(other);
  });

  it('frozen, it has to go when another finds no room; one at rest without memory does not', async () => {
    const { first, second, third } = await noRoomFor(100);
    const refused = await reservePlace(db.store, { ...want, replicaId: third });
    assert.ok(refused.hostId === null);
    assert.deepEqual(
      refused.free.map((f) => f.replicaId),
      [first],
      'the one frozen longest',
    );
    assert.match(refused.message, /freeing 1 frozen/);
    await reportReplica(db.store, { replicaId: first, stage: 'stopping', message: '' });
    const meanwhile = await reservePlace(db.store, { ...want, replicaId: third });
    assert.ok(meanwhile.hostId === null);
    assert.deepEqual(
      meanwhile.free.map((f) => f.replicaId),
      [first],
      'no other while it goes',
    );
    await over(first);
    assert.deepEqual(await reservePlace(db.store, { ...want, replicaId: third }), { hostId: 'h' });
    await over(second);
    await over(third);
  });

  it('no other has to go in the moment in which one has gone', async () => {
    const { first, second, third } = await noRoomFor(101);
    // Whoever asks whose the places are waits here, and the one frozen longest goes meanwhile.
    const asked = await db.store.transaction().execute(async (tx) => {
      await sql`LOCK TABLE endpoints IN ACCESS EXCLUSIVE MODE`.execute(tx);
      const asking = reservePlace(db.store, { ...want, replicaId: third });
      await eventually('it waits', async () => {
        const { rows } = await sql`SELECT 1 FROM pg_locks WHERE NOT granted`.execute(tx);
        return rows.length > 0;
      });
      await tx.deleteFrom('allocations').where('replica_id', '=', first).execute();
      await reportReplica(tx, { replicaId: first, stage: 'stopped', message: '' });
      return { asking };
    });
    assert.deepEqual(await asked.asking, { hostId: 'h' });
    await over(second);
    await over(third);
  });

  it('is not brought back once it is over, nor placed on a host that is lost', async () => {
    const id = await serving();
    await over(id);
    await rest(id, 'frozen');
    assert.equal((await row(id)).stage, 'stopped');
    assert.equal(await retakePlace(db.store, { ...want, replicaId: id }), null);
    const lost = await serving();
    await rest(lost, 'frozen');
    await db.store.updateTable('hosts').set({ state: 'lost' }).execute();
    assert.equal(await retakePlace(db.store, { ...want, replicaId: lost }), null);
    await db.store.updateTable('hosts').set({ state: 'ready' }).execute();
    await over(lost);
  });

  it('a drain that is called off opens the route again, under a newer version', async () => {
    const id = await serving();
    const version = await startDraining(db.store, id);
    await addRoute(db.store, vault, { replicaId: id, endpointId, address: '127.0.0.1:2', engineKey: 'k' });
    assert.equal((await route(id))?.state, 'draining', 'a late start does not');
    await stopDraining(db.store, id);
    const reopened = await route(id);
    assert.equal(reopened?.state, 'ready');
    assert.ok((reopened?.version ?? 0) > version);
    await over(id);
  });
});
