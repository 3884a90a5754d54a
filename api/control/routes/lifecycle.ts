import { endpointWithStatus } from '../../../spec/endpoint.ts';
import {
  changeEndpoint,
  type EndpointChange,
  endpointNotFound,
  type LockedEndpoint,
} from '../../../store/endpoint-writes.ts';
import { guard } from '../../auth/guard.ts';
import { actorOf, type ControlApp, type ControlDeps } from '../context.ts';
import { pause, resume, scaleToZero } from '../decisions.ts';
import { endpointParams, refusalsOfOne } from '../schemas.ts';
import { tellWorkflow } from '../tell.ts';
import { showEndpoint } from './endpoints.ts';

interface Verb {
  path: string;
  operationId: string;
  summary: string;
  decide: (current: LockedEndpoint) => EndpointChange | null;
}

/** The three verbs, which differ only in what they decide. None takes a body. */
const VERBS: readonly Verb[] = [
  {
    path: 'pause',
    operationId: 'pauseEndpoint',
    summary: 'Stop all replicas; nothing but resume starts them again',
    decide: pause,
  },
  {
    path: 'resume',
    operationId: 'resumeEndpoint',
    summary: 'Start a paused, failed or sleeping endpoint',
    decide: resume,
  },
  {
    path: 'scale-to-zero',
    operationId: 'scaleToZeroEndpoint',
    summary: 'Stop all replicas now; the next request starts one again',
    decide: scaleToZero,
  },
];

export function lifecycleRoutes(app: ControlApp, deps: ControlDeps): void {
  for (const { path, operationId, summary, decide } of VERBS) {
    app.route({
      method: 'POST',
      url: `/v2/endpoint/:namespace/:name/${path}`,
      onRequest: guard(deps.store, 'endpoint.write'),
      schema: {
        operationId,
        summary,
        tags: ['endpoint'],
        params: endpointParams,
        response: { 200: endpointWithStatus, ...refusalsOfOne },
      },
      handler: async (request) => {
        const where = { ...request.params, actor: actorOf(request) };
        const changed = await changeEndpoint(deps.store, deps.vault, where, (current) => {
          if (current.phase === 'deleted') throw endpointNotFound(where.namespace, where.name);
          return decide(current);
        });
        // A resumed endpoint that slept must not go on sleeping by its workflow's own reckoning.
        if (changed) tellWorkflow(deps, where, { wake: path === 'resume' });
        return showEndpoint(deps, where);
      },
    });
  }
}
