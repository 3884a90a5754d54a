import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { reportUsage } from '../../store/hosts.ts';
import { measureLoad } from '../../store/load.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

describe('store: load', () => {
  let db: TestDatabase;
  const id = randomUUID();
  const asked = new Date('2026-11-01T10:00:00.000Z');

  before(async () => {
    db = await testDatabase();
    await sql`
      INSERT INTO namespaces (name, kind) VALUES ('ns', 'user');
      INSERT INTO gateways (id, version, seen_at) VALUES ('g1', 1, now()), ('g2', 1, now()), ('dead', 1, now() - interval '1 minute');
    `.execute(db.store);
    await sql`
      INSERT INTO endpoints (id, namespace, name, spec, phase, generation, revision, ready_replica, target_replica, created_by, updated_by, last_used_at)
      VALUES (${id}, 'ns', 'e', ${JSON.stringify({ compute: { scaling: { minReplica: 0 } } })}::jsonb, 'running', 1, 1, 2, 3, ${id}, ${id}, ${asked})`.execute(
      db.store,
    );
    for (const [number, stage] of ['running', 'running', 'initializing', 'pending'].entries()) {
      await sql`INSERT INTO replicas (id, endpoint_id, number, revision, stage) VALUES (${`r${number}`}, ${id}, ${number}, 1, ${stage})`.execute(
        db.store,
      );
    }
    for (const [gateway, pending, inFlight] of [
      ['g1', 2, { r0: 1, r1: 2 }],
      ['g2', 1, {}],
      ['dead', 50, { r0: 50 }],
    ] as const) {
      await sql`INSERT INTO gateway_load (gateway_id, endpoint_id, in_flight, pending, requests)
        VALUES (${gateway}, ${id}, ${JSON.stringify(inFlight)}::jsonb, ${pending}, 9)`.execute(db.store);
    }
  });
  after(() => db.drop());

  it('sums over living gateways, counts what is on its way, and knows the last request of a gateway that has ended', async () => {
    const [look, ...others] = await measureLoad(db.store);
    assert.deepEqual(others, []);
    assert.ok(look);
    assert.deepEqual([look.pending, look.inFlight], [3, 3]);
    assert.deepEqual([look.readyReplica, look.targetReplica, look.startingReplica], [2, 3, 1]);
    assert.equal(look.lastRequestAt, asked.getTime());
  });

  it('counts what was accepted over living gateways, and learns how long a start takes from the last ones', async () => {
    const look = async () => (await measureLoad(db.store))[0];
    assert.deepEqual([(await look())?.requests, (await look())?.startSeconds], [18, null]);
    for (const [number, seconds] of [
      [0, 10],
      [1, 300],
      [2, 12],
    ] as const)
      await sql`UPDATE replicas SET ready_at = created_at + ${seconds} * interval '1 second' WHERE id = ${`r${number}`}`.execute(
        db.store,
      );
    assert.equal((await look())?.startSeconds, 12);
    for (let number = 10; number < 18; number += 1)
      await sql`INSERT INTO replicas (id, endpoint_id, number, revision, stage, stopped_at, ready_at)
        VALUES (${`r${number}`}, ${id}, ${number}, 1, 'stopped', now(), now() + interval '20 seconds')`.execute(
        db.store,
      );
    assert.equal((await look())?.startSeconds, 20);
    await sql`UPDATE replicas SET ready_at = NULL; DELETE FROM replicas WHERE number >= 10`.execute(db.store);
  });

  it('takes the mean of the CPU or GPU use that a host has told lately', async () => {
    const percent = async () => (await measureLoad(db.store))[0]?.hardwarePercent;
    assert.equal(await percent(), null);
    await sql`INSERT INTO hosts (id, name, provider, vendor, region, state, address, public_key, inventory)
      VALUES ('h', 'h', 'docker', 'docker', 'local', 'ready', '127.0.0.1', '{}', '{}')`.execute(db.store);
    await sql`UPDATE replicas SET host_id = 'h'`.execute(db.store);
    const told = [
      { replicaId: 'r0', cpuPercent: 20, gpuPercent: null },
      { replicaId: 'r1', cpuPercent: null, gpuPercent: 60 },
      { replicaId: 'unknown', cpuPercent: 99, gpuPercent: null },
    ];
    await reportUsage(db.store, 'another host', told);
    assert.equal(await percent(), null);
    await reportUsage(db.store, 'h', told);
    assert.equal(await percent(), 40);
    await sql`UPDATE replicas SET usage_at = now() - interval '1 minute'`.execute(db.store);
    assert.equal(await percent(), null);
  });
});
