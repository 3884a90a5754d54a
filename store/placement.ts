import { sql } from 'kysely';
import type { DriverNeed, GpuDriver } from '../spec/driver.ts';
import type { Instance } from '../spec/hardware.ts';
import type { HostInventory, NoPlace } from '../spec/lifecycle.ts';
import type { Store } from './database.ts';
import { hostsWithDriver, wholeGpus } from './driver-hosts.ts';

/** A host and what is already promised on it. */
export interface HostRoom {
  id: string;
  cpus: number;
  memoryBytes: number;
  gpus: number[];
  usedCpus: number;
  usedMemoryBytes: number;
  usedGpus: number[];
  driver?: GpuDriver | null | undefined;
}

export interface Need {
  cpus: number;
  memoryBytes: number;
  gpus: number;
  /** Of a replica on GPUs. */
  driver?: { image: string; need: DriverNeed } | null | undefined;
}

const GIB = 1024 ** 3;

export function needOf(instance: Instance): Need {
  return { cpus: instance.cpus, memoryBytes: instance.memoryGb * GIB, gpus: instance.gpus };
}

/**
 * The host with the most CPUs left among those with room, and the GPUs to use there; null when none has room. CPUs may
 * be promised `cpuOvercommit` times over, memory and GPUs never.
 */
export function chooseHost(
  hosts: readonly HostRoom[],
  need: Need,
  cpuOvercommit: number,
): { hostId: string; gpus: number[] } | null {
  const fits = hosts
    .map((host) => ({
      host,
      cpusLeft: host.cpus * cpuOvercommit - host.usedCpus,
      freeGpus: host.gpus.filter((index) => !host.usedGpus.includes(index)),
    }))
    .filter(
      ({ host, cpusLeft, freeGpus }) =>
        cpusLeft >= need.cpus &&
        host.memoryBytes - host.usedMemoryBytes >= need.memoryBytes &&
        freeGpus.length >= need.gpus,
    )
    .sort((a, b) => b.cpusLeft - a.cpusLeft || a.host.id.localeCompare(b.host.id));
  const best = fits[0];
  return best ? { hostId: best.host.id, gpus: best.freeGpus.slice(0, need.gpus) } : null;
}

/** A replica at rest with its memory; it gives way to one that is to run. */
export interface FrozenReplica {
  replicaId: string;
  namespace: string;
  name: string;
  number: number;
  hostId: string;
  memoryBytes: number;
  gpus: number[];
}

/**
 * The frozen replicas to free so that one host has room, oldest first; empty when that would not help. `frozen` is in
 * order of age. Of several hosts, the one where the youngest that has to go is oldest.
 */
export function chooseToFree(
  hosts: readonly HostRoom[],
  frozen: readonly FrozenReplica[],
  need: Need,
  cpuOvercommit: number,
): FrozenReplica[] {
  const rooms = new Map(hosts.map((host) => [host.id, { ...host }]));
  const freed: FrozenReplica[] = [];
  for (const replica of frozen) {
    const room = rooms.get(replica.hostId);
    if (!room) continue;
    freed.push(replica);
    room.usedMemoryBytes -= replica.memoryBytes;
    room.usedGpus = room.usedGpus.filter((index) => !replica.gpus.includes(index));
    if (chooseHost([room], need, cpuOvercommit)) return freed.filter(({ hostId }) => hostId === room.id);
  }
  return [];
}

/**
 * Every place that is taken, and by whom, the longest at rest first; before them those on their way out, so that no other
 * goes in their stead. Read at once: of one that has just gone, neither its place nor itself may be seen alone.
 */
async function placesTaken(store: Store) {
  return await store
    .selectFrom('allocations as a')
    .innerJoin('replicas as r', 'r.id', 'a.replica_id')
    .innerJoin('endpoints as e', 'e.id', 'r.endpoint_id')
    .select(['a.replica_id', 'a.host_id', 'a.cpus', 'a.memory_bytes', 'a.gpus'])
    .select(['e.namespace', 'e.name', 'r.number', 'r.standby', 'r.stopped_at'])
    .orderBy(sql`r.stage = 'standby'`)
    .orderBy('r.stage_since')
    .execute();
}

function frozenOf(taken: Awaited<ReturnType<typeof placesTaken>>): FrozenReplica[] {
  return taken
    .filter(({ standby, stopped_at }) => standby === 'frozen' && stopped_at === null)
    .map(({ replica_id, host_id, memory_bytes, gpus, namespace, name, number }) => ({
      replicaId: replica_id,
      namespace,
      name,
      number,
      hostId: host_id,
      memoryBytes: memory_bytes,
      gpus,
    }));
}

/** A host and what the given places take of it. */
export function roomOf(
  host: { id: string; inventory: HostInventory },
  places: readonly { cpus: number; memory_bytes: number; gpus: number[] }[],
): HostRoom {
  return {
    id: host.id,
    cpus: host.inventory.cpus,
    memoryBytes: host.inventory.memoryBytes,
    gpus: wholeGpus(host.inventory),
    driver: host.inventory.gpuDriver,
    usedCpus: places.reduce((sum, a) => sum + a.cpus, 0),
    usedMemoryBytes: places.reduce((sum, a) => sum + a.memory_bytes, 0),
    usedGpus: places.flatMap((a) => a.gpus),
  };
}

const emptied = (host: HostRoom): HostRoom => ({ ...host, usedCpus: 0, usedMemoryBytes: 0, usedGpus: [] });

/** Whether no host would have room even with nothing else on it: giving up what runs there would not help. */
export function fitsNowhere(hosts: readonly HostRoom[], need: Need, cpuOvercommit: number): boolean {
  return chooseHost(hosts.map(emptied), need, cpuOvercommit) === null;
}

/** Why no host has room, in words: what is needed, and what each host has left, or in all where none is large enough. */
export function explainNoRoom(hosts: readonly HostRoom[], need: Need, cpuOvercommit: number): string {
  const tenths = (value: number) => Math.round(value * 10) / 10;
  const wanted = `${need.cpus} CPU, ${tenths(need.memoryBytes / GIB)} GiB${need.gpus ? `, ${need.gpus} GPU` : ''}`;
  if (hosts.length === 0) return `waiting for a host: none has joined (needs ${wanted})`;
  const nowhere = fitsNowhere(hosts, need, cpuOvercommit);
  const rooms = (nowhere ? hosts.map(emptied) : hosts).map(
    (h) =>
      `${h.id} has ${tenths(h.cpus * cpuOvercommit - h.usedCpus)} CPU, ${tenths((h.memoryBytes - h.usedMemoryBytes) / GIB)} GiB` +
      (h.gpus.length || need.gpus ? `, ${h.gpus.length - h.usedGpus.length} GPU` : ''),
  );
  return nowhere
    ? `waiting for a host that is large enough: needs ${wanted}; ${rooms.join('; ')} in all`
    : `waiting for room: needs ${wanted}; ${rooms.join('; ')} left`;
}

/**
 * Takes a place for a replica, or says why there is none. One transaction that locks the hosts of the region, so that
 * two replicas never take the same GPU; a replica that has a place keeps it. `free`: frozen replicas that have to go, so
 * that there is room.
 * @throws EndpointsError DRIVER_TOO_OLD
 */
export async function reservePlace(
  store: Store,
  want: { replicaId: string; vendor: string; region: string; need: Need; cpuOvercommit: number },
): Promise<{ hostId: string } | (NoPlace & { free: FrozenReplica[] })> {
  return await store.transaction().execute(async (tx) => {
    const hosts = await tx
      .selectFrom('hosts')
      .select(['id', 'inventory'])
      .where('vendor', '=', want.vendor)
      .where('region', '=', want.region)
      .where('state', '=', 'ready')
      .orderBy('id')
      .forUpdate()
      .execute();
    const held = await tx
      .selectFrom('allocations')
      .select('host_id')
      .where('replica_id', '=', want.replicaId)
      .executeTakeFirst();
    if (held) return { hostId: held.host_id };

    const taken = await placesTaken(tx);
    const rooms = hosts.map((host) =>
      roomOf(
        host,
        taken.filter((a) => a.host_id === host.id),
      ),
    );
    const suited = hostsWithDriver(rooms, want.need);
    const place = chooseHost(suited, want.need, want.cpuOvercommit);
    if (!place) {
      const free = chooseToFree(suited, frozenOf(taken), want.need, want.cpuOvercommit);
      const why = explainNoRoom(rooms, want.need, want.cpuOvercommit);
      const message = free.length ? `${why}; freeing ${free.length} frozen` : why;
      return { hostId: null, message, nowhere: fitsNowhere(suited, want.need, want.cpuOvercommit), free };
    }
    await tx
      .insertInto('allocations')
      .values({
        replica_id: want.replicaId,
        host_id: place.hostId,
        cpus: want.need.cpus,
        memory_bytes: want.need.memoryBytes,
        gpus: place.gpus,
      })
      .execute();
    await tx
      .updateTable('replicas')
      .set({ host_id: place.hostId })
      .where('id', '=', want.replicaId)
      .execute();
    return { hostId: place.hostId };
  });
}

/** Removes what replicas that are over still hold; returns how much that was. */
export async function sweepPlaces(store: Store): Promise<number> {
  const over = sql<string>`(SELECT id FROM replicas WHERE stopped_at IS NOT NULL)`;
  const places = await store.deleteFrom('allocations').where('replica_id', 'in', over).executeTakeFirst();
  const routes = await store.deleteFrom('routes').where('replica_id', 'in', over).executeTakeFirst();
  return Number(places.numDeletedRows + routes.numDeletedRows);
}
