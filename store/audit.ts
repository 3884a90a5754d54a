import type { Transaction } from 'kysely';
import type { Change } from '../spec/changes.ts';
import type { Store } from './database.ts';
import type { Database } from './schema.ts';

/** Who did something, and from where: what an audit entry keeps of the request. */
export interface Actor {
  userId: string;
  userName: string;
  tokenId: string | null;
  ip: string | null;
  userAgent: string | null;
  requestId: string | null;
}

export interface AuditEntry {
  id: number;
  createdAt: Date;
  action: string;
  endpoint: { id: string; name: string } | null;
  actor: Actor;
  changes: Change[] | null;
  message: string;
}

/** Adds an entry within the transaction of the act it tells of, so that neither exists without the other. */
export async function appendAudit(
  trx: Transaction<Database>,
  actor: Actor,
  entry: {
    namespace: string;
    action: string;
    endpoint: { id: string; name: string };
    message: string;
    changes: Change[];
  },
): Promise<void> {
  await trx
    .insertInto('audit')
    .values({
      namespace: entry.namespace,
      action: entry.action,
      endpoint_id: entry.endpoint.id,
      endpoint_name: entry.endpoint.name,
      user_id: actor.userId,
      user_name: actor.userName,
      token_id: actor.tokenId,
      ip: actor.ip,
      user_agent: actor.userAgent,
      request_id: actor.requestId,
      changes: entry.changes.length > 0 ? JSON.stringify(entry.changes) : null,
      message: entry.message,
    })
    .execute();
}

/** Newest first. `before` is the id of the last entry already seen. */
export async function listAudit(
  store: Store,
  namespace: string,
  options: { endpoint?: string; username?: string; before?: number; limit: number },
): Promise<AuditEntry[]> {
  let query = store.selectFrom('audit').selectAll().where('namespace', '=', namespace);
  if (options.endpoint !== undefined) query = query.where('endpoint_name', '=', options.endpoint);
  if (options.username !== undefined) query = query.where('user_name', '=', options.username);
  if (options.before !== undefined) query = query.where('id', '<', options.before);
  const rows = await query.orderBy('id', 'desc').limit(options.limit).execute();
  return rows.map((row) => ({
    id: row.id,
    createdAt: row.created_at,
    action: row.action,
    endpoint: row.endpoint_id ? { id: row.endpoint_id, name: row.endpoint_name ?? '' } : null,
    actor: {
      userId: row.user_id,
      userName: row.user_name,
      tokenId: row.token_id,
      ip: row.ip,
      userAgent: row.user_agent,
      requestId: row.request_id,
    },
    changes: row.changes,
    message: row.message,
  }));
}
