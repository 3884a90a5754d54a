import { z } from 'zod';
import { EndpointsError } from '../../../spec/errors.ts';
import { type AuditEntry, listAudit } from '../../../store/audit.ts';
import { guard } from '../../auth/guard.ts';
import type { ControlApp, ControlDeps } from '../context.ts';
import { decodeCursor, encodeCursor } from '../cursor.ts';
import { auditLogs, namespaceParams, pageLimit, refusals } from '../schemas.ts';

const DEFAULT_LIMIT = 20;

export function auditRoutes(app: ControlApp, deps: ControlDeps): void {
  app.route({
    method: 'GET',
    url: '/v2/audit-logs/:namespace',
    onRequest: guard(deps.store, 'audit.read'),
    schema: {
      operationId: 'listAuditLogs',
      summary: 'Who did what, newest first',
      tags: ['audit'],
      params: namespaceParams,
      querystring: z.object({
        endpoint: z.string().optional(),
        username: z.string().optional(),
        cursor: z.string().optional(),
        limit: pageLimit.optional(),
      }),
      response: { 200: auditLogs, ...refusals },
    },
    handler: async (request) => {
      const { endpoint, username, cursor, limit = DEFAULT_LIMIT } = request.query;
      const found = await listAudit(deps.store, request.params.namespace, {
        ...(endpoint === undefined ? {} : { endpoint }),
        ...(username === undefined ? {} : { username }),
        ...(cursor === undefined ? {} : { before: entryId(cursor) }),
        limit: limit + 1,
      });
      const list = found.slice(0, limit);
      const last = list.at(-1);
      return {
        list: list.map(present),
        ...(last && found.length > limit ? { next_cursor: encodeCursor(String(last.id)) } : {}),
      };
    },
  });
}

function entryId(cursor: string): number {
  const id = Number(decodeCursor(cursor));
  if (!Number.isSafeInteger(id) || id < 0)
    throw new EndpointsError('VALIDATION_FAILED', 'cursor: is not one that this list has given out');
  return id;
}

function present({ id, createdAt, actor, ...entry }: AuditEntry) {
  return {
    ...entry,
    id: String(id),
    createdAt: createdAt.toISOString(),
    user: { id: actor.userId, name: actor.userName, type: 'user' as const },
    token: actor.tokenId ? { id: actor.tokenId, type: 'access-token' as const } : null,
    ip: actor.ip,
    userAgent: actor.userAgent,
    requestId: actor.requestId,
  };
}
