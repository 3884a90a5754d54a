import type { Transaction } from 'kysely';
import { changesOf } from '../spec/changes.ts';
import type { OwnersWish } from '../spec/normalize.ts';
import { mergeScaling } from '../spec/scaling.ts';
import type { ScalingSchedule } from '../spec/schedule.ts';
import type { Actor } from './audit.ts';
import type { Store } from './database.ts';
import { updateEdge } from './edges.ts';
import { changeEndpoint, type EndpointChange } from './endpoint-writes.ts';
import { inWords, type StoredSchedule, selectSchedules } from './schedules.ts';
import type { Database } from './schema.ts';
import type { Vault } from './secrets.ts';

/** A rule that is due, and the moment it is due for. */
export interface Due {
  endpointId: string;
  schedule: string;
  at: Date;
}

/**
 * Carries a rule out for the moment it was due: its bounds become the endpoint's, as a write of the owner's would make
 * them. A rule that is gone or switched off, and one that is late behind another of the same endpoint, does nothing.
 * @returns where the endpoint is and whether it has to start, or null when nothing changed
 */
export async function fireSchedule(
  store: Store,
  vault: Vault,
  due: Due,
): Promise<{ namespace: string; name: string; wake: boolean } | null> {
  const { endpointId, schedule } = due;
  const endpoint = await store
    .selectFrom('endpoints')
    .select(['namespace', 'name', 'updated_by'])
    .where('id', '=', endpointId)
    .executeTakeFirst();
  if (!endpoint) return null;
  const { namespace, name } = endpoint;
  const actor: Actor = {
    userId: endpoint.updated_by,
    userName: `schedule ${schedule}`,
    tokenId: null,
    ip: null,
    userAgent: null,
    requestId: null,
  };
  let wake = false;
  const changed = await changeEndpoint(store, vault, { namespace, name, actor }, async (current, trx) => {
    if (current.id !== endpointId || current.phase === 'deleted') return null;
    const rule = await claim(trx, due);
    const change = rule && boundsOf(current.wish, rule);
    if (!change) return null;
    const projection = updateEdge(current, change.wish.spec, false);
    wake = projection?.state === 'pending';
    return { ...change, ...(projection ? { projection } : {}) };
  });
  return changed ? { namespace, name, wake } : null;
}

/** The rule, if it is still one to carry out for that moment; notes that it was. */
async function claim(
  trx: Transaction<Database>,
  { endpointId, schedule, at }: Due,
): Promise<StoredSchedule | null> {
  const rows = await selectSchedules(trx).where('endpoint_id', '=', endpointId).execute();
  const rule = rows.find((row) => row.name === schedule && row.enabled);
  // Missed firings are made up for in any order: the one that was due last decides, of two at once the one named last.
  const overtaken = rows.some(
    ({ firedAt, name }) => firedAt && (firedAt > at || (firedAt >= at && name > schedule)),
  );
  if (!rule || overtaken) return null;
  await trx
    .updateTable('schedules')
    .set({ fired_at: at })
    .where('endpoint_id', '=', endpointId)
    .where('name', '=', schedule)
    .execute();
  return rule;
}

/** Null when the endpoint has these bounds already. */
function boundsOf(before: OwnersWish, rule: ScalingSchedule): (EndpointChange & { wish: OwnersWish }) | null {
  const { spec, secrets } = before;
  const scaling = mergeScaling(spec.compute.scaling, {
    minReplica: rule.minReplica,
    maxReplica: rule.maxReplica,
    ...(rule.scaleToZeroTimeout === null ? {} : { scaleToZeroTimeout: rule.scaleToZeroTimeout }),
  });
  const wish = { spec: { ...spec, compute: { ...spec.compute, scaling } }, secrets };
  const changes = changesOf(before, wish);
  if (changes.length === 0) return null;
  return { action: 'endpoint.update', message: `schedule '${rule.name}': ${inWords(rule)}`, changes, wish };
}
