import { sql } from 'kysely';
import type { HostInventory } from '../spec/lifecycle.ts';
import type { ReplicaStage } from '../spec/states.ts';
import type { Store } from './database.ts';
import { wholeGpus } from './driver-hosts.ts';

export interface JoiningHost {
  id: string;
  name: string;
  provider: string;
  vendor: string;
  region: string;
  address: string;
  publicKey: Record<string, unknown>;
  inventory: HostInventory;
}

export interface StoredHost extends JoiningHost {
  state: 'ready' | 'lost' | 'draining';
  joinedAt: Date;
  seenAt: Date;
}

/** Takes a host in, or takes it back: what it reports of itself replaces what was known, and it is ready. */
export async function joinHost(store: Store, host: JoiningHost): Promise<{ wasReady: boolean }> {
  const before = await store.selectFrom('hosts').select('state').where('id', '=', host.id).executeTakeFirst();
  const values = {
    name: host.name,
    provider: host.provider,
    vendor: host.vendor,
    region: host.region,
    state: 'ready' as const,
    address: host.address,
    public_key: JSON.stringify(host.publicKey),
    inventory: JSON.stringify(host.inventory),
  };
  await store
    .insertInto('hosts')
    .values({ id: host.id, ...values })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ ...values, seen_at: sql<Date>`now()` }))
    .execute();
  return { wasReady: before?.state === 'ready' };
}

/** False when there is no such host. */
export async function setHostState(
  store: Store,
  hostId: string,
  state: StoredHost['state'],
): Promise<boolean> {
  const { numUpdatedRows } = await store
    .updateTable('hosts')
    .set({ state, ...(state === 'ready' ? { seen_at: sql<Date>`now()` } : {}) })
    .where('id', '=', hostId)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

export async function listHosts(store: Store): Promise<StoredHost[]> {
  return store
    .selectFrom('hosts')
    .select(['id', 'name', 'provider', 'vendor', 'region', 'state', 'address', 'inventory'])
    .select(['public_key as publicKey', 'joined_at as joinedAt', 'seen_at as seenAt'])
    .orderBy('id')
    .execute();
}

/** The stages a host can report progress of, in the order they are passed. */
export const PROGRESS_STAGES = [
  'downloading',
  'pulling',
  'initializing',
] as const satisfies readonly ReplicaStage[];
export type ProgressStage = (typeof PROGRESS_STAGES)[number];

/**
 * What a replica on this host is doing right now. False, and nothing changed, unless the replica is on this host and
 * has not come further yet: a report that was overtaken must not put a running replica back.
 */
export async function reportProgress(
  store: Store,
  hostId: string,
  report: { replicaId: string; stage: ProgressStage; message: string },
): Promise<boolean> {
  const notFurther = ['pending', ...PROGRESS_STAGES.slice(0, PROGRESS_STAGES.indexOf(report.stage) + 1)];
  const { numUpdatedRows } = await store
    .updateTable('replicas')
    .set({
      stage: report.stage,
      message: report.message,
      stage_since: sql<Date>`CASE WHEN stage = ${report.stage} THEN stage_since ELSE now() END`,
    })
    .where('id', '=', report.replicaId)
    .where('host_id', '=', hostId)
    .where('stopped_at', 'is', null)
    .where('stage', 'in', notFurther as ReplicaStage[])
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

/** How much of their CPUs or GPUs replicas on this host use; those that are not there are passed over. */
export async function reportUsage(
  store: Store,
  hostId: string,
  replicas: readonly { replicaId: string; cpuPercent: number | null; gpuPercent: number | null }[],
): Promise<void> {
  const reported = sql`jsonb_to_recordset(${JSON.stringify(replicas)}::jsonb) AS u("replicaId" text, "cpuPercent" real, "gpuPercent" real)`;
  await sql`
    UPDATE replicas r SET cpu_percent = u."cpuPercent", gpu_percent = u."gpuPercent", usage_at = now() FROM ${reported}
    WHERE r.id = u."replicaId" AND r.host_id = ${hostId} AND r.stopped_at IS NULL`.execute(store);
}

/** What each ready host has, used or not. */
export async function hostCapacities(
  store: Store,
): Promise<{ vendor: string; region: string; cpus: number; memoryBytes: number; gpus: number }[]> {
  const rows = await store
    .selectFrom('hosts')
    .select(['vendor', 'region', 'inventory'])
    .where('state', '=', 'ready')
    .execute();
  return rows.map(({ vendor, region, inventory }) => ({
    vendor,
    region,
    cpus: inventory.cpus,
    memoryBytes: inventory.memoryBytes,
    gpus: wholeGpus(inventory).length,
  }));
}

export interface FreeRoom {
  vendor: string;
  region: string;
  /** After overcommitment. */
  cpus: number;
  memoryBytes: number;
  gpus: number;
}

/** What each ready host has left. CPUs count `cpuOvercommit` times, as in placement. */
export async function freeRoom(store: Store, cpuOvercommit: number): Promise<FreeRoom[]> {
  const rows = await store
    .selectFrom('hosts as h')
    .leftJoin('allocations as a', 'a.host_id', 'h.id')
    .select(['h.id', 'h.vendor', 'h.region', 'h.inventory'])
    .select((eb) => [
      eb.fn.coalesce(eb.fn.sum<number>('a.cpus'), sql<number>`0`).as('usedCpus'),
      sql<number>`coalesce(sum(a.memory_bytes), 0)::float8`.as('usedMemoryBytes'),
      sql<number>`coalesce(sum(cardinality(a.gpus)), 0)::int`.as('usedGpus'),
    ])
    .where('h.state', '=', 'ready')
    .groupBy('h.id')
    .execute();
  return rows.map((row) => ({
    vendor: row.vendor,
    region: row.region,
    cpus: row.inventory.cpus * cpuOvercommit - row.usedCpus,
    memoryBytes: row.inventory.memoryBytes - row.usedMemoryBytes,
    gpus: wholeGpus(row.inventory).length - row.usedGpus,
  }));
}
