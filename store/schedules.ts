import { sql, type Transaction } from 'kysely';
import { EndpointsError } from '../spec/errors.ts';
import type { ScalingSchedule } from '../spec/schedule.ts';
import { type Actor, appendAudit } from './audit.ts';
import type { Store } from './database.ts';
import { endpointNotFound } from './endpoint-writes.ts';
import type { Database } from './schema.ts';

/** Rules of scheduled scaling. A change is one transaction with its audit entry. */

export interface StoredSchedule extends ScalingSchedule {
  endpointId: string;
  /** Grows with every change of the rule. */
  version: number;
  /** The moment for which it was last carried out. */
  firedAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
}

interface Where {
  namespace: string;
  name: string;
}

const MAX_PER_ENDPOINT = 50;

export function selectSchedules(store: Store | Transaction<Database>) {
  return store
    .selectFrom('schedules')
    .select(['endpoint_id as endpointId', 'name', 'cron', 'time_zone as timeZone', 'enabled', 'version'])
    .select(['min_replica as minReplica', 'max_replica as maxReplica'])
    .select(['scale_to_zero_timeout as scaleToZeroTimeout', 'fired_at as firedAt'])
    .select(['created_at as createdAt', 'updated_at as updatedAt']);
}

/** An endpoint's rules by name. @throws EndpointsError NOT_FOUND */
export async function listSchedules(store: Store, { namespace, name }: Where): Promise<StoredSchedule[]> {
  const { id } = await endpointOf(store, namespace, name);
  return selectSchedules(store).where('endpoint_id', '=', id).orderBy('name').execute();
}

/** Every rule of every endpoint that is not being deleted. */
export async function allSchedules(store: Store): Promise<StoredSchedule[]> {
  const kept = store.selectFrom('endpoints').select('id').where('phase', '<>', 'deleted');
  return selectSchedules(store).where('endpoint_id', 'in', kept).execute();
}

/** The names of the rules of one endpoint, also of one that is being deleted. */
export async function scheduleNames(store: Store, endpointId: string): Promise<string[]> {
  const rows = await store
    .selectFrom('schedules')
    .select('name')
    .where('endpoint_id', '=', endpointId)
    .execute();
  return rows.map((row) => row.name);
}

/** @throws EndpointsError NOT_FOUND */
export async function readSchedule(store: Store, where: Where, schedule: string): Promise<StoredSchedule> {
  const { id } = await endpointOf(store, where.namespace, where.name);
  const found = await selectSchedules(store)
    .where('endpoint_id', '=', id)
    .where('name', '=', schedule)
    .executeTakeFirst();
  if (!found) throw scheduleNotFound(where, schedule);
  return found;
}

/** @throws EndpointsError NOT_FOUND, CONFLICT when the endpoint has a rule of this name, or too many */
export async function createSchedule(
  store: Store,
  where: Where & { actor: Actor },
  rule: ScalingSchedule,
): Promise<void> {
  await store.transaction().execute(async (trx) => {
    const { id } = await endpointOf(trx, where.namespace, where.name, { lock: true });
    const { count } = await trx
      .selectFrom('schedules')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .where('endpoint_id', '=', id)
      .executeTakeFirstOrThrow();
    if (count >= MAX_PER_ENDPOINT)
      throw new EndpointsError(
        'CONFLICT',
        `the endpoint has ${count} schedules, and that is the most: delete one`,
      );
    const inserted = await trx
      .insertInto('schedules')
      .values({ endpoint_id: id, name: rule.name, ...columns(rule), updated_by: where.actor.userId })
      .onConflict((conflict) => conflict.columns(['endpoint_id', 'name']).doNothing())
      .executeTakeFirst();
    if (inserted.numInsertedOrUpdatedRows !== 1n)
      throw new EndpointsError(
        'CONFLICT',
        `name: the endpoint already has a schedule '${rule.name}': choose another name, or update that one`,
      );
    await audit(trx, where, id, 'schedule.create', `schedule '${rule.name}' created: ${inWords(rule)}`);
  });
}

/**
 * Changes a rule by what `decide` makes of it. @returns the rule, changed or as it was
 * @throws EndpointsError NOT_FOUND
 */
export async function changeSchedule(
  store: Store,
  where: Where & { actor: Actor },
  schedule: string,
  decide: (current: ScalingSchedule) => ScalingSchedule,
): Promise<void> {
  await store.transaction().execute(async (trx) => {
    const { id } = await endpointOf(trx, where.namespace, where.name, { lock: true });
    const row = await selectSchedules(trx)
      .where('endpoint_id', '=', id)
      .where('name', '=', schedule)
      .executeTakeFirst();
    if (!row) throw scheduleNotFound(where, schedule);
    const before = columns(row);
    const rule = decide(row);
    if (JSON.stringify(columns(rule)) === JSON.stringify(before)) return;
    await trx
      .updateTable('schedules')
      .set({
        ...columns(rule),
        version: row.version + 1,
        updated_at: sql<Date>`now()`,
        updated_by: where.actor.userId,
      })
      .where('endpoint_id', '=', id)
      .where('name', '=', schedule)
      .execute();
    await audit(trx, where, id, 'schedule.update', `schedule '${schedule}' updated: ${inWords(rule)}`);
  });
}

/** @returns the id of its endpoint @throws EndpointsError NOT_FOUND */
export async function deleteSchedule(
  store: Store,
  where: Where & { actor: Actor },
  schedule: string,
): Promise<string> {
  return store.transaction().execute(async (trx) => {
    const { id } = await endpointOf(trx, where.namespace, where.name, { lock: true });
    const { numDeletedRows } = await trx
      .deleteFrom('schedules')
      .where('endpoint_id', '=', id)
      .where('name', '=', schedule)
      .executeTakeFirst();
    if (numDeletedRows === 0n) throw scheduleNotFound(where, schedule);
    await audit(trx, where, id, 'schedule.delete', `schedule '${schedule}' deleted`);
    return id;
  });
}

function columns(rule: ScalingSchedule) {
  return {
    cron: rule.cron,
    time_zone: rule.timeZone,
    min_replica: rule.minReplica,
    max_replica: rule.maxReplica,
    scale_to_zero_timeout: rule.scaleToZeroTimeout,
    enabled: rule.enabled,
  };
}

/** For the audit log. */
export function inWords({ cron, timeZone, minReplica, maxReplica, enabled }: ScalingSchedule): string {
  return `${minReplica} to ${maxReplica} replicas at '${cron}' ${timeZone}${enabled ? '' : ' (off)'}`;
}

async function audit(
  trx: Transaction<Database>,
  where: Where & { actor: Actor },
  endpointId: string,
  action: string,
  message: string,
): Promise<void> {
  const endpoint = { id: endpointId, name: where.name };
  await appendAudit(trx, where.actor, { namespace: where.namespace, action, endpoint, message, changes: [] });
}

async function endpointOf(
  store: Store | Transaction<Database>,
  namespace: string,
  name: string,
  { lock = false } = {},
): Promise<{ id: string }> {
  const query = store
    .selectFrom('endpoints')
    .select('id')
    .where('namespace', '=', namespace)
    .where('name', '=', name)
    .where('phase', '<>', 'deleted');
  const found = await (lock ? query.forUpdate() : query).executeTakeFirst();
  if (!found) throw endpointNotFound(namespace, name);
  return found;
}

function scheduleNotFound({ namespace, name }: Where, schedule: string): EndpointsError {
  return new EndpointsError('NOT_FOUND', `endpoint '${namespace}/${name}' has no schedule '${schedule}'`);
}
