import { sql } from 'kysely';
import type { EndpointSpec } from '../spec/endpoint.ts';
import type { Failure } from '../spec/errors.ts';
import type { DesiredPhase, EndpointState, ReplicaStage } from '../spec/states.ts';
import type { Store } from './database.ts';

/** An endpoint as its readers see it: the owner's wish beside the projection its workflow writes. No secret in it. */
export interface StoredEndpoint {
  id: string;
  namespace: string;
  name: string;
  spec: EndpointSpec;
  phase: DesiredPhase;
  generation: number;
  revision: number;
  sleepGeneration: number;
  observedGeneration: number;
  state: EndpointState;
  message: string;
  errorMessage: string | null;
  readyReplica: number;
  targetReplica: number;
  createdAt: Date;
  createdBy: { id: string; name: string };
  updatedAt: Date;
  updatedBy: { id: string; name: string };
  lastUsedAt: Date | null;
  /** What the newest replica that is on its way says of itself, such as "downloading 43 of 98 MB". */
  progress: string | null;
}

function selectEndpoints(store: Store) {
  return store
    .selectFrom('endpoints as e')
    .leftJoin('users as c', 'c.id', 'e.created_by')
    .leftJoin('users as u', 'u.id', 'e.updated_by')
    .select([
      'e.id',
      'e.namespace',
      'e.name',
      'e.spec',
      'e.phase',
      'e.generation',
      'e.revision',
      'e.sleep_generation as sleepGeneration',
      'e.observed_generation as observedGeneration',
      'e.state',
      'e.message',
      'e.error_message as errorMessage',
      'e.ready_replica as readyReplica',
      'e.target_replica as targetReplica',
      'e.created_at as createdAt',
      'e.created_by as createdById',
      'c.name as createdByName',
      'e.updated_at as updatedAt',
      'e.updated_by as updatedById',
      'u.name as updatedByName',
      'e.last_used_at as lastUsedAt',
    ])
    .select((eb) =>
      eb
        .selectFrom('replicas as r')
        .select('r.message')
        .whereRef('r.endpoint_id', '=', 'e.id')
        .where('r.stopped_at', 'is', null)
        .where('r.stage', 'in', ['pending', 'downloading', 'pulling', 'initializing'])
        .where('r.message', '<>', '')
        .orderBy('r.number', 'desc')
        .limit(1)
        .as('progress'),
    );
}

type Row = Awaited<ReturnType<ReturnType<typeof selectEndpoints>['execute']>>[number];

function stored({ createdById, createdByName, updatedById, updatedByName, ...row }: Row): StoredEndpoint {
  return {
    ...row,
    // The name of a user who is gone by now is not kept with the endpoint.
    createdBy: { id: createdById, name: createdByName ?? 'unknown' },
    updatedBy: { id: updatedById, name: updatedByName ?? 'unknown' },
  };
}

/** Null when there is no such endpoint; one that is being deleted is there, with phase `deleted`. */
export async function findEndpoint(
  store: Store,
  namespace: string,
  name: string,
): Promise<StoredEndpoint | null> {
  const row = await selectEndpoints(store)
    .where('e.namespace', '=', namespace)
    .where('e.name', '=', name)
    .executeTakeFirst();
  return row ? stored(row) : null;
}

export interface EndpointFilter {
  /** Endpoints that carry all of these. */
  tags?: readonly string[];
  /** Part of the name, in any case. */
  search?: string;
}

/**
 * Endpoints of a namespace by name, those being deleted left out. `after` is the last name already seen, `limit` absent
 * means all.
 */
export async function listEndpoints(
  store: Store,
  namespace: string,
  filter: EndpointFilter = {},
  page: { after?: string; limit?: number } = {},
): Promise<StoredEndpoint[]> {
  let query = selectEndpoints(store)
    .where('e.namespace', '=', namespace)
    .where('e.phase', '<>', 'deleted')
    .orderBy('e.name');
  if (filter.tags?.length)
    query = query.where(sql<boolean>`e.spec->'tags' @> ${JSON.stringify(filter.tags)}::jsonb`);
  if (filter.search) query = query.where(sql<boolean>`position(lower(${filter.search}) in e.name) > 0`);
  if (page.after !== undefined) query = query.where('e.name', '>', page.after);
  if (page.limit !== undefined) query = query.limit(page.limit);
  return (await query.execute()).map(stored);
}

export interface UnobservedEndpoint {
  id: string;
  namespace: string;
  name: string;
  generation: number;
  state: EndpointState;
}

/** Endpoints whose newest write their workflow has not reported to have seen, oldest write first. */
export async function unobservedEndpoints(
  store: Store,
  options: { olderThanMs: number; limit: number },
): Promise<UnobservedEndpoint[]> {
  return store
    .selectFrom('endpoints')
    .select(['id', 'namespace', 'name', 'generation', 'state'])
    .whereRef('generation', '>', 'observed_generation')
    .where(sql<boolean>`updated_at < now() - ${options.olderThanMs} * interval '1 millisecond'`)
    .orderBy('updated_at')
    .limit(options.limit)
    .execute();
}

export interface ReplicaRow {
  id: string;
  revision: number;
  stage: ReplicaStage;
  message: string;
  failure: Failure | null;
  createdAt: Date;
  stoppedAt: Date | null;
}

/** An endpoint's replicas, newest first, those that are over among them. */
export async function listReplicas(store: Store, endpointId: string, limit: number): Promise<ReplicaRow[]> {
  return store
    .selectFrom('replicas')
    .select(['id', 'revision', 'stage', 'message', 'failure'])
    .select(['created_at as createdAt', 'stopped_at as stoppedAt'])
    .where('endpoint_id', '=', endpointId)
    .orderBy('number', 'desc')
    .limit(limit)
    .execute();
}

/** Replicas a namespace runs or starts now, by the instance they take: `vendor/region/type/size` → how many. */
export async function countReplicasByInstance(store: Store, namespace: string): Promise<Map<string, number>> {
  const rows = await store
    .selectFrom('replicas as r')
    .innerJoin('revisions as v', (join) =>
      join.onRef('v.endpoint_id', '=', 'r.endpoint_id').onRef('v.revision', '=', 'r.revision'),
    )
    .innerJoin('endpoints as e', 'e.id', 'r.endpoint_id')
    .select((eb) => [
      sql<string>`concat_ws('/', v.spec#>>'{provider,vendor}', v.spec#>>'{provider,region}',
        v.spec#>>'{compute,instanceType}', v.spec#>>'{compute,instanceSize}')`.as('instance'),
      eb.fn.countAll<number>().as('count'),
    ])
    .where('e.namespace', '=', namespace)
    .where('r.stopped_at', 'is', null)
    .where('r.host_id', 'is not', null)
    .groupBy('instance')
    .execute();
  return new Map(rows.map((row) => [row.instance, row.count]));
}
