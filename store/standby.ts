import { sql } from 'kysely';
import type { Standby } from '../spec/states.ts';
import type { Store } from './database.ts';
import { chooseHost, type Need, roomOf } from './placement.ts';

/** The store's side of a replica that rests while its endpoint is at zero. */

/**
 * A replica went to rest: its route is gone, and of its place it keeps what its container still holds. Frozen, that is
 * memory and GPUs; stopped, nothing. Does nothing to a replica that is over.
 */
export async function restReplica(
  store: Store,
  rest: { replicaId: string; standby: Standby; message: string },
): Promise<void> {
  const { replicaId, standby } = rest;
  await store.transaction().execute(async (tx) => {
    await tx.deleteFrom('routes').where('replica_id', '=', replicaId).execute();
    if (standby === 'frozen')
      await tx.updateTable('allocations').set({ cpus: 0 }).where('replica_id', '=', replicaId).execute();
    else await tx.deleteFrom('allocations').where('replica_id', '=', replicaId).execute();
    await tx
      .updateTable('replicas')
      .set({
        stage: 'standby',
        standby,
        message: rest.message,
        ready_at: null,
        stage_since: sql<Date>`CASE WHEN stage = 'standby' THEN stage_since ELSE now() END`,
      })
      .where('id', '=', replicaId)
      .where('stopped_at', 'is', null)
      .execute();
  });
}

/**
 * Takes the place of a resting replica again, on the host its container is on; null when there is no room any more.
 * `gpus` are the ones it has now: a container that was made for others cannot be used. Repeating it changes nothing.
 */
export async function retakePlace(
  store: Store,
  want: { replicaId: string; need: Need; cpuOvercommit: number },
): Promise<{ hostId: string; gpus: number[] } | null> {
  return await store.transaction().execute(async (tx) => {
    const host = await tx
      .selectFrom('hosts as h')
      .innerJoin('replicas as r', 'r.host_id', 'h.id')
      .select(['h.id', 'h.inventory'])
      .where('r.id', '=', want.replicaId)
      .where('r.stopped_at', 'is', null)
      .where('h.state', '=', 'ready')
      .forUpdate('h')
      .executeTakeFirst();
    if (!host) return null;
    const used = await tx.selectFrom('allocations').selectAll().where('host_id', '=', host.id).execute();
    const held = used.find((a) => a.replica_id === want.replicaId);
    const others = roomOf(
      host,
      used.filter((a) => a !== held),
    );
    // GPUs it still holds are its own; otherwise it takes what is free.
    const place = chooseHost([others], held ? { ...want.need, gpus: 0 } : want.need, want.cpuOvercommit);
    if (!place) return null;
    const gpus = held?.gpus ?? place.gpus;
    const { cpus, memoryBytes } = want.need;
    await tx
      .insertInto('allocations')
      .values({ replica_id: want.replicaId, host_id: host.id, cpus, memory_bytes: memoryBytes, gpus })
      .onConflict((c) => c.column('replica_id').doUpdateSet({ cpus, memory_bytes: memoryBytes }))
      .execute();
    await tx
      .updateTable('replicas')
      .set({ stage: 'initializing', standby: null, message: 'waking', stage_since: sql<Date>`now()` })
      .where('id', '=', want.replicaId)
      .where('stage', '=', 'standby')
      .execute();
    return { hostId: host.id, gpus };
  });
}
