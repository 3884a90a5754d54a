import { randomUUID } from 'node:crypto';
import { sql, type Transaction } from 'kysely';
import type { Change } from '../spec/changes.ts';
import type { EndpointSecrets } from '../spec/endpoint.ts';
import { EndpointsError } from '../spec/errors.ts';
import type { WeightsPlan } from '../spec/lifecycle.ts';
import type { OwnersWish } from '../spec/normalize.ts';
import type { DesiredPhase, EndpointState } from '../spec/states.ts';
import { type Actor, appendAudit } from './audit.ts';
import type { Store } from './database.ts';
import { claimDomain } from './domains.ts';
import { firstTarget } from './edges.ts';
import type { Database } from './schema.ts';
import type { Vault } from './secrets.ts';

/**
 * The owner's writes. Each is one transaction: the row is locked, the change decided on what it holds then, and the
 * row, its revision and the audit entry are written together.
 */

/** An endpoint under the lock of a write, as the decision about the write sees it. */
export interface LockedEndpoint {
  id: string;
  phase: DesiredPhase;
  generation: number;
  state: EndpointState;
  wish: OwnersWish;
}

/** What a write does to an endpoint. Whatever it does, the generation grows by one. */
export interface EndpointChange {
  /** For the audit log: `endpoint.pause` and the like. */
  action: string;
  message: string;
  changes?: Change[];
  phase?: DesiredPhase;
  wish?: OwnersWish;
  /** Set when new containers are needed; `weights` null leaves it to the workflow to ask the Hub. */
  revision?: { weights: WeightsPlan | null };
  /** A forced scale to zero: this generation becomes the sleep generation. */
  sleep?: boolean;
  /** What readers see from now on, before the workflow has looked at the change. */
  projection?: ProjectionEdge;
}

export interface ProjectionEdge {
  state: EndpointState;
  message: string;
  readyReplica?: number;
  targetReplica?: number;
}

const secretContext = (endpointId: string) => `endpoint:${endpointId}`;
const revisionContext = (endpointId: string, revision: number) => `revision:${endpointId}:${revision}`;

/**
 * Stores a new endpoint with generation and revision 1.
 * @throws EndpointsError CONFLICT when the name is taken, also by an endpoint that is being deleted, or its domain is
 */
export async function createEndpoint(
  store: Store,
  vault: Vault,
  input: { namespace: string; name: string; wish: OwnersWish; weights: WeightsPlan | null; actor: Actor },
): Promise<void> {
  const { namespace, name, wish, actor } = input;
  const id = randomUUID();
  await store.transaction().execute(async (trx) => {
    const inserted = await trx
      .insertInto('endpoints')
      .values({
        id,
        namespace,
        name,
        spec: JSON.stringify(wish.spec),
        secrets: vault.encrypt(wish.secrets, secretContext(id)),
        phase: 'running',
        generation: 1,
        revision: 1,
        sleep_generation: 0,
        target_replica: firstTarget(wish.spec),
        created_by: actor.userId,
        updated_by: actor.userId,
      })
      .onConflict((conflict) => conflict.columns(['namespace', 'name']).doNothing())
      .executeTakeFirst();
    if (inserted.numInsertedOrUpdatedRows !== 1n) throw await nameTaken(trx, namespace, name);
    await claimDomain(trx, null, wish.spec, { namespace, name });
    await insertRevision(trx, vault, { id, revision: 1, wish, weights: input.weights });
    await appendAudit(trx, actor, {
      namespace,
      action: 'endpoint.create',
      endpoint: { id, name },
      message: `created with ${wish.spec.model.repository} on ${wish.spec.compute.instanceType} ${wish.spec.compute.instanceSize}`,
      changes: [],
    });
  });
}

/** @throws EndpointsError CONFLICT when the name is taken, so that nobody waits for the Hub to be told so */
export async function assertNameFree(store: Store, namespace: string, name: string): Promise<void> {
  const row = await store
    .selectFrom('endpoints')
    .select('phase')
    .where('namespace', '=', namespace)
    .where('name', '=', name)
    .executeTakeFirst();
  if (row) throw conflict(namespace, name, row.phase);
}

async function nameTaken(
  trx: Transaction<Database>,
  namespace: string,
  name: string,
): Promise<EndpointsError> {
  const row = await trx
    .selectFrom('endpoints')
    .select('phase')
    .where('namespace', '=', namespace)
    .where('name', '=', name)
    .executeTakeFirst();
  // Without a row its deletion has just ended: the next try succeeds.
  return conflict(namespace, name, row?.phase ?? 'deleted');
}

function conflict(namespace: string, name: string, phase: DesiredPhase): EndpointsError {
  const why =
    phase === 'deleted'
      ? 'is still being deleted: try again in a moment, or choose another name'
      : 'already exists: choose another name, or update that endpoint';
  return new EndpointsError('CONFLICT', `name: endpoint '${namespace}/${name}' ${why}`);
}

export function endpointNotFound(namespace: string, name: string): EndpointsError {
  return new EndpointsError('NOT_FOUND', `endpoint '${namespace}/${name}' does not exist`);
}

/**
 * Changes an endpoint by what `decide` makes of it; null changes nothing. What `decide` does beside goes through `trx`
 * and stands with the change. It may throw, and then nothing is changed.
 * @returns whether anything was changed
 * @throws EndpointsError NOT_FOUND, CONFLICT when another endpoint has its domain
 */
export async function changeEndpoint(
  store: Store,
  vault: Vault,
  where: { namespace: string; name: string; actor: Actor },
  decide: (
    current: LockedEndpoint,
    trx: Transaction<Database>,
  ) => EndpointChange | null | Promise<EndpointChange | null>,
): Promise<boolean> {
  const { namespace, name, actor } = where;
  return store.transaction().execute(async (trx) => {
    const row = await trx
      .selectFrom('endpoints')
      .select(['id', 'phase', 'generation', 'revision', 'state', 'spec', 'secrets'])
      .where('namespace', '=', namespace)
      .where('name', '=', name)
      .forUpdate()
      .executeTakeFirst();
    if (!row) throw endpointNotFound(namespace, name);
    const { id, phase, generation, state } = row;
    const wish = { spec: row.spec, secrets: openSecrets(vault, id, row.secrets) };
    const change = await decide({ id, phase, generation, state, wish }, trx);
    if (!change) return false;
    if (change.wish) await claimDomain(trx, wish.spec, change.wish.spec, { namespace, name });
    const revision = row.revision + (change.revision ? 1 : 0);
    await trx
      .updateTable('endpoints')
      .set({
        generation: generation + 1,
        revision,
        updated_at: sql<Date>`now()`,
        updated_by: actor.userId,
        ...(change.phase ? { phase: change.phase } : {}),
        ...(change.sleep ? { sleep_generation: generation + 1 } : {}),
        ...(change.wish
          ? {
              spec: JSON.stringify(change.wish.spec),
              secrets: vault.encrypt(change.wish.secrets, secretContext(id)),
            }
          : {}),
        ...(change.projection ? projectionColumns(change.projection) : {}),
      })
      .where('id', '=', id)
      .execute();
    if (change.revision)
      await insertRevision(trx, vault, {
        id,
        revision,
        wish: change.wish ?? wish,
        weights: change.revision.weights,
      });
    await appendAudit(trx, actor, {
      namespace,
      action: change.action,
      endpoint: { id, name },
      message: change.message,
      changes: change.changes ?? [],
    });
    return true;
  });
}

/** The wish as it is stored now, secrets opened. @throws EndpointsError NOT_FOUND */
export async function readWish(
  store: Store,
  vault: Vault,
  namespace: string,
  name: string,
): Promise<OwnersWish> {
  const row = await store
    .selectFrom('endpoints')
    .select(['id', 'spec', 'secrets'])
    .where('namespace', '=', namespace)
    .where('name', '=', name)
    .where('phase', '<>', 'deleted')
    .executeTakeFirst();
  if (!row) throw endpointNotFound(namespace, name);
  return { spec: row.spec, secrets: openSecrets(vault, row.id, row.secrets) };
}

function openSecrets(vault: Vault, id: string, sealed: Buffer | null): EndpointSecrets {
  return sealed ? vault.decrypt<EndpointSecrets>(sealed, secretContext(id)) : { env: {}, registry: null };
}

function projectionColumns(edge: ProjectionEdge) {
  return {
    state: edge.state,
    message: edge.message,
    error_message: null,
    ...(edge.readyReplica === undefined ? {} : { ready_replica: edge.readyReplica }),
    ...(edge.targetReplica === undefined ? {} : { target_replica: edge.targetReplica }),
  };
}

async function insertRevision(
  trx: Transaction<Database>,
  vault: Vault,
  row: { id: string; revision: number; wish: OwnersWish; weights: WeightsPlan | null },
): Promise<void> {
  await trx
    .insertInto('revisions')
    .values({
      endpoint_id: row.id,
      revision: row.revision,
      spec: JSON.stringify(row.wish.spec),
      secrets: vault.encrypt(row.wish.secrets, revisionContext(row.id, row.revision)),
      weights: row.weights ? JSON.stringify(row.weights) : null,
    })
    .execute();
}
