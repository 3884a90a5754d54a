import { sql } from 'kysely';
import type { EndpointSpec } from '../spec/endpoint.ts';
import type { Failure } from '../spec/errors.ts';
import { variantOf } from '../spec/images.ts';
import type {
  BakeSettings,
  Desired,
  Projection,
  ReplicaView,
  StartLimits,
  WeightsPlan,
} from '../spec/lifecycle.ts';
import { bakeOf } from '../spec/rollout.ts';
import { isFinal, type ReplicaStage } from '../spec/states.ts';
import type { Store } from './database.ts';

/** What the workflows read and write: the wish as they see it, the projection, and the life of each replica. */

export async function loadDesired(
  store: Store,
  at: { namespace: string; name: string },
  site: { limits: StartLimits; bake: BakeSettings },
): Promise<Desired | null> {
  const row = await store
    .selectFrom('endpoints')
    .selectAll()
    .where('namespace', '=', at.namespace)
    .where('name', '=', at.name)
    .executeTakeFirst();
  if (!row) return null;
  const [replicas, last, revision] = await Promise.all([
    store
      .selectFrom('replicas')
      .selectAll()
      .where('endpoint_id', '=', row.id)
      .where('stopped_at', 'is', null)
      .orderBy('number')
      .execute(),
    store
      .selectFrom('replicas')
      .select((e) => e.fn.max('number').as('number'))
      .where('endpoint_id', '=', row.id)
      .executeTakeFirst(),
    store
      .selectFrom('revisions')
      .select('weights')
      .where('endpoint_id', '=', row.id)
      .where('revision', '=', row.revision)
      .executeTakeFirst(),
  ]);
  const { scaling } = row.spec.compute;
  return {
    endpointId: row.id,
    phase: row.phase,
    generation: row.generation,
    revision: row.revision,
    sleepGeneration: row.sleep_generation,
    minReplica: scaling.minReplica,
    maxReplica: scaling.maxReplica,
    ...(scaling.standby ? { standby: scaling.standby } : {}),
    engine: variantOf(row.spec.model.image).variant,
    model: row.spec.model.repository,
    pinned: revision?.weights != null,
    limits: site.limits,
    bake: bakeOf(row.spec.experimentalFeatures, site.bake),
    targetReplica: row.target_replica,
    lastReplicaNumber: last?.number ?? 0,
    liveReplicas: replicas.map(
      (r): ReplicaView => ({
        number: r.number,
        revision: r.revision,
        stage: r.stage,
        message: r.message,
        hostId: r.host_id,
        stageSince: r.stage_since.getTime(),
        readyAt: r.ready_at?.getTime() ?? null,
        failure: r.failure,
        blocked: false,
        stopping: false,
        ...(r.stage === 'standby' && r.standby ? { resting: r.standby } : {}),
      }),
    ),
  };
}

/**
 * Writes what the workflow sees. A look at an older generation is dropped: the API has already shown the newer wish, and
 * the workflow is about to read it.
 */
export async function publishProjection(
  store: Store,
  endpointId: string,
  projection: Projection,
): Promise<void> {
  await store
    .updateTable('endpoints')
    .set({
      state: projection.state,
      message: projection.message,
      error_message: projection.errorMessage,
      ready_replica: projection.readyReplica,
      target_replica: projection.targetReplica,
      observed_generation: projection.observedGeneration,
    })
    .where('id', '=', endpointId)
    .where('generation', '=', projection.observedGeneration)
    .execute();
}

export async function removeEndpoint(store: Store, endpointId: string): Promise<void> {
  await store.deleteFrom('endpoints').where('id', '=', endpointId).where('phase', '=', 'deleted').execute();
}

/** What a revision froze; `weights` and `image` are null until they are pinned. */
export interface StoredRevision {
  spec: EndpointSpec;
  secrets: Buffer | null;
  weights: WeightsPlan | null;
  image: string | null;
}

export async function loadRevision(
  store: Store,
  endpointId: string,
  revision: number,
): Promise<StoredRevision | undefined> {
  return await store
    .selectFrom('revisions')
    .select(['spec', 'secrets', 'weights', 'image'])
    .where('endpoint_id', '=', endpointId)
    .where('revision', '=', revision)
    .executeTakeFirst();
}

/** Pins a revision to its files; the first writer wins, so that all replicas of a revision run the same. */
export async function pinWeights(
  store: Store,
  endpointId: string,
  revision: number,
  weights: WeightsPlan,
): Promise<void> {
  await store
    .updateTable('revisions')
    .set({ weights: JSON.stringify(weights) })
    .where('endpoint_id', '=', endpointId)
    .where('revision', '=', revision)
    .where('weights', 'is', null)
    .execute();
}

/**
 * Pins a revision to an exact image; the first writer wins, so that all replicas of a revision run the same.
 * @returns the image that is pinned, which may be another one's; the given one when the revision is gone
 */
export async function pinImage(
  store: Store,
  endpointId: string,
  revision: number,
  image: string,
): Promise<{ image: string }> {
  const row = await store
    .updateTable('revisions')
    .set({ image: sql<string>`coalesce(image, ${image})` })
    .where('endpoint_id', '=', endpointId)
    .where('revision', '=', revision)
    .returning('image')
    .executeTakeFirst();
  return { image: row?.image ?? image };
}

export async function beginReplica(
  store: Store,
  replica: { replicaId: string; endpointId: string; number: number; revision: number },
): Promise<void> {
  await store
    .insertInto('replicas')
    .values({
      id: replica.replicaId,
      endpoint_id: replica.endpointId,
      number: replica.number,
      revision: replica.revision,
      stage: 'pending',
      message: 'Endpoint waiting to be scheduled',
      host_id: null,
      failure: null,
      ready_at: null,
      stopped_at: null,
    })
    .onConflict((c) => c.column('id').doNothing())
    .execute();
}

/** What the replicas of a revision that have no place yet are waiting for. */
export async function noteWaiting(
  store: Store,
  { endpointId, revision, message }: { endpointId: string; revision: number; message: string },
): Promise<void> {
  await store
    .updateTable('replicas')
    .set({ message })
    .where('endpoint_id', '=', endpointId)
    .where('revision', '=', revision)
    .where('stage', '=', 'pending')
    .where('stopped_at', 'is', null)
    .execute();
}

/** Notes where a replica is; a replica that is over stays over. */
export async function reportReplica(
  store: Store,
  report: { replicaId: string; stage: ReplicaStage; message: string; failure?: Failure | null },
): Promise<void> {
  await store
    .updateTable('replicas')
    .set({
      stage: report.stage,
      message: report.message,
      failure: report.failure ? JSON.stringify(report.failure) : null,
      stage_since: sql<Date>`CASE WHEN stage = ${report.stage} THEN stage_since ELSE now() END`,
      ...(report.stage === 'running' ? { ready_at: sql<Date>`coalesce(ready_at, now())` } : {}),
      ...(isFinal(report.stage) ? { stopped_at: sql<Date>`coalesce(stopped_at, now())` } : {}),
    })
    .where('id', '=', report.replicaId)
    .where('stopped_at', 'is', null)
    .execute();
}

/**
 * Whether a replica of this revision, with a number below `before`, ended for lack of shared memory. Of the same number
 * it is always the same, so that a container found again is the one that was asked for.
 */
export async function lackedSharedMemory(
  store: Store,
  { endpointId, revision, before }: { endpointId: string; revision: number; before: number },
): Promise<boolean> {
  const found = await store
    .selectFrom('replicas')
    .select('id')
    .where('endpoint_id', '=', endpointId)
    .where('revision', '=', revision)
    .where('number', '<', before)
    .where(sql<string>`failure->>'code'`, '=', 'NCCL_SHM')
    .limit(1)
    .executeTakeFirst();
  return found !== undefined;
}

/** Closes the row of a replica that is over and gives its place back, in one transaction. */
export async function releaseReplica(
  store: Store,
  release: { replicaId: string; stage: 'stopped' | 'failed'; failure: Failure | null },
): Promise<void> {
  await store.transaction().execute(async (tx) => {
    await tx.deleteFrom('allocations').where('replica_id', '=', release.replicaId).execute();
    await tx.deleteFrom('routes').where('replica_id', '=', release.replicaId).execute();
    await reportReplica(tx, { ...release, message: release.failure?.message ?? 'stopped' });
  });
}
