import { z } from 'zod';
import { endpointNotFound } from '../../../store/endpoint-writes.ts';
import { findEndpoint } from '../../../store/endpoints.ts';
import { measureReplicas, pendingRequests, replicaAnswers } from '../../../store/metrics.ts';
import { guard } from '../../auth/guard.ts';
import type { ControlApp, ControlDeps } from '../context.ts';
import { OPEN_METRICS, openMetrics } from '../open-metrics.ts';
import { endpointParams, refusalsOfOne } from '../schemas.ts';

export function metricsRoutes(app: ControlApp, deps: ControlDeps): void {
  app.route({
    method: 'GET',
    url: '/v2/endpoint/:namespace/:name/open-metrics',
    onRequest: guard(deps.store, 'endpoint.read'),
    schema: {
      operationId: 'getOpenMetrics',
      summary: 'Numbers of an endpoint and its replicas now, as OpenMetrics text',
      tags: ['endpoint'],
      params: endpointParams,
      response: {
        200: { content: { [OPEN_METRICS]: { schema: z.string().meta({ id: 'OpenMetricsText' }) } } },
        ...refusalsOfOne,
      },
    },
    handler: async (request, reply) => {
      const { namespace, name } = request.params;
      const endpoint = await findEndpoint(deps.store, namespace, name);
      if (!endpoint || endpoint.phase === 'deleted') throw endpointNotFound(namespace, name);
      const [replicas, pending, answers] = await Promise.all([
        measureReplicas(deps.store, endpoint.id),
        pendingRequests(deps.store, endpoint.id),
        replicaAnswers(deps.store, endpoint.id),
      ]);
      reply.header('content-type', OPEN_METRICS);
      return openMetrics(replicas, pending, answers);
    },
  });
}
