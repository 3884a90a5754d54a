import { isFinal } from '../../../spec/states.ts';
import { endpointNotFound } from '../../../store/endpoint-writes.ts';
import { findEndpoint, listReplicas } from '../../../store/endpoints.ts';
import { guard } from '../../auth/guard.ts';
import type { ControlApp, ControlDeps } from '../context.ts';
import { endpointParams, refusalsOfOne, replicas } from '../schemas.ts';

/** Replicas that are over are shown too, the newest few, because they are what one looks for after a failure. */
const SHOWN = 50;

export function replicaRoutes(app: ControlApp, deps: ControlDeps): void {
  app.route({
    method: 'GET',
    url: '/v2/endpoint/:namespace/:name/replica',
    onRequest: guard(deps.store, 'endpoint.read'),
    schema: {
      operationId: 'listReplicas',
      summary: 'Replicas and their stages, newest first',
      tags: ['endpoint'],
      params: endpointParams,
      response: { 200: replicas, ...refusalsOfOne },
    },
    handler: async (request) => {
      const { namespace, name } = request.params;
      const endpoint = await findEndpoint(deps.store, namespace, name);
      if (!endpoint || endpoint.phase === 'deleted') throw endpointNotFound(namespace, name);
      const rollingOut = endpoint.state === 'updating' || endpoint.state === 'updateFailed';
      const rows = await listReplicas(deps.store, endpoint.id, SHOWN);
      return {
        items: rows.map((row) => {
          const updating = rollingOut && row.revision === endpoint.revision;
          return {
            id: row.id,
            status: {
              stage: row.stage,
              message: row.message,
              live: !updating && !isFinal(row.stage),
              updating,
              startedAt: row.createdAt.toISOString(),
              stoppedAt: row.stoppedAt?.toISOString() ?? null,
              exitCode: row.failure?.exitCode ?? null,
            },
          };
        }),
      };
    },
  });
}
