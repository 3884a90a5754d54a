import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type { HostInventory } from '../../spec/lifecycle.ts';
import { beginReplica, releaseReplica } from '../../store/lifecycle.ts';
import {
  chooseHost,
  explainNoRoom,
  fitsNowhere,
  type HostRoom,
  reservePlace,
} from '../../store/placement.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const GIB = 1024 ** 3;

function room(over: Partial<HostRoom>): HostRoom {
  return {
    id: 'a',
    cpus: 4,
    memoryBytes: 8 * GIB,
    gpus: [],
    usedCpus: 0,
    usedMemoryBytes: 0,
    usedGpus: [],
    ...over,
  };
}

describe('placement: choosing a host', () => {
  it('takes the host with most CPUs left among those with room', () => {
    const hosts = [
      room({ id: 'a', usedCpus: 3 }),
      room({ id: 'b', usedCpus: 1 }),
      room({ id: 'c', memoryBytes: GIB }),
    ];
    assert.deepEqual(chooseHost(hosts, { cpus: 1, memoryBytes: 2 * GIB, gpus: 0 }, 1), {
      hostId: 'b',
      gpus: [],
    });
  });

  it('gives GPUs nobody else has, by index', () => {
    const hosts = [room({ gpus: [0, 1, 2, 3], usedGpus: [0, 2] })];
    assert.deepEqual(chooseHost(hosts, { cpus: 1, memoryBytes: GIB, gpus: 2 }, 1), {
      hostId: 'a',
      gpus: [1, 3],
    });
    assert.equal(chooseHost(hosts, { cpus: 1, memoryBytes: GIB, gpus: 3 }, 1), null);
  });

  it('never promises more memory or GPUs than there are, nor CPUs beyond the overcommit', () => {
    const anyRoom = fc.record({
      cpus: fc.integer({ min: 1, max: 8 }),
      gib: fc.integer({ min: 1, max: 16 }),
      usedCpus: fc.integer({ min: 0, max: 16 }),
      usedGib: fc.integer({ min: 0, max: 16 }),
      gpus: fc.integer({ min: 0, max: 4 }),
      usedGpus: fc.integer({ min: 0, max: 4 }),
    });
    const need = fc.record({
      cpus: fc.integer({ min: 1, max: 8 }),
      gib: fc.integer({ min: 1, max: 16 }),
      gpus: fc.integer({ min: 0, max: 3 }),
    });
    fc.assert(
      fc.property(
        fc.array(anyRoom, { maxLength: 4 }),
        need,
        fc.constantFrom(1, 2),
        (rooms, want, overcommit) => {
          const hosts = rooms.map((r, i): HostRoom => {
            const gpus = Array.from({ length: r.gpus }, (_, g) => g);
            return room({
              id: `h${i}`,
              cpus: r.cpus,
              memoryBytes: r.gib * GIB,
              usedCpus: r.usedCpus,
              usedMemoryBytes: r.usedGib * GIB,
              gpus,
              usedGpus: gpus.slice(0, r.usedGpus),
            });
          });
          const place = chooseHost(
            hosts,
            { cpus: want.cpus, memoryBytes: want.gib * GIB, gpus: want.gpus },
            overcommit,
          );
          if (!place) return;
          const host = hosts.find((h) => h.id === place.hostId);
          assert.ok(host);
          assert.ok(host.usedCpus + want.cpus <= host.cpus * overcommit);
          assert.ok(host.usedMemoryBytes + want.gib * GIB <= host.memoryBytes);
          assert.equal(new Set([...place.gpus, ...host.usedGpus]).size, want.gpus + host.usedGpus.length);
        },
      ),
    );
  });

  it('says what is needed and what is left', () => {
    const need = { cpus: 8, memoryBytes: 8 * GIB, gpus: 0 };
    assert.equal(
      explainNoRoom([room({ usedCpus: 1 })], need, 2),
      'waiting for room: needs 8 CPU, 8 GiB; a has 7 CPU, 8 GiB left',
    );
    assert.match(explainNoRoom([], need, 1), /none has joined/);
  });

  it('tells a host that is full from hosts that are all too small, and says what these have', () => {
    const need = { cpus: 4, memoryBytes: 8 * GIB, gpus: 2 };
    const full = room({ id: 'b', gpus: [0, 1], usedGpus: [0], usedMemoryBytes: GIB });
    assert.equal(fitsNowhere([room({}), full], need, 1), false);
    const small = room({ gpus: [0], usedGpus: [0], usedCpus: 2 });
    assert.equal(fitsNowhere([small], need, 1), true);
    assert.equal(
      explainNoRoom([small], need, 1),
      'waiting for a host that is large enough: needs 4 CPU, 8 GiB, 2 GPU; a has 4 CPU, 8 GiB, 1 GPU in all',
    );
    assert.equal(fitsNowhere([], need, 1), true);
  });
});

describe('placement: taking a place', () => {
  let db: TestDatabase;
  const endpointId = randomUUID();
  const need = { cpus: 1, memoryBytes: GIB, gpus: 1 };
  const want = { vendor: 'docker', region: 'local', need, cpuOvercommit: 4 };

  before(async () => {
    db = await testDatabase();
    const inventory: HostInventory = {
      cpus: 4,
      memoryBytes: 64 * GIB,
      diskFreeBytes: 0,
      gpus: [0, 1, 2].map((index) => ({ index, model: 'g', memoryBytes: GIB })),
      dockerVersion: '1',
      os: 'linux',
    };
    await db.store.insertInto('namespaces').values({ name: 'ns', kind: 'user' }).execute();
    const host = {
      id: 'h',
      name: 'h',
      provider: 'docker',
      vendor: 'docker',
      region: 'local',
      state: 'ready' as const,
      address: '127.0.0.1',
    };
    await db.store
      .insertInto('hosts')
      .values({ ...host, public_key: '{}', inventory: JSON.stringify(inventory) })
      .execute();
    await db.store
      .insertInto('endpoints')
      .values({
        id: endpointId,
        namespace: 'ns',
        name: 'e',
        spec: '{}',
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
    for (let number = 1; number <= 8; number += 1) {
      await beginReplica(db.store, { replicaId: `r${number}`, endpointId, number, revision: 1 });
    }
  });
  after(() => db.drop());

  it('never gives one GPU to two replicas that ask at once, and gives it on when one is released', async () => {
    const ask = (number: number) => reservePlace(db.store, { ...want, replicaId: `r${number}` });
    const places = await Promise.all([1, 2, 3, 4, 5, 6].map(ask));
    assert.equal(places.filter((p) => p.hostId === 'h').length, 3);
    const rows = await db.store.selectFrom('allocations').selectAll().execute();
    assert.deepEqual(rows.flatMap((r) => r.gpus).sort(), [0, 1, 2]);

    const [held] = rows;
    assert.ok(held);
    assert.deepEqual(await reservePlace(db.store, { ...want, replicaId: held.replica_id }), { hostId: 'h' });
    await releaseReplica(db.store, { replicaId: held.replica_id, stage: 'stopped', failure: null });
    assert.deepEqual(await ask(8), { hostId: 'h' });
    const again = await db.store
      .selectFrom('allocations')
      .select('gpus')
      .where('replica_id', '=', 'r8')
      .executeTakeFirst();
    assert.deepEqual(again?.gpus, held.gpus);
  });

  it('keeps a replica that is over what it is, whatever is reported later', async () => {
    await releaseReplica(db.store, {
      replicaId: 'r7',
      stage: 'failed',
      failure: { code: 'GPU_OOM', message: 'too big' },
    });
    await releaseReplica(db.store, { replicaId: 'r7', stage: 'stopped', failure: null });
    const row = await db.store.selectFrom('replicas').selectAll().where('id', '=', 'r7').executeTakeFirst();
    assert.deepEqual([row?.stage, row?.message, row?.failure?.code], ['failed', 'too big', 'GPU_OOM']);
    assert.ok(row?.stopped_at);
  });
});
