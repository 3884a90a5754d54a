import {
  beginReplica,
  loadDesired,
  publishProjection,
  releaseReplica,
  removeEndpoint,
  reportReplica,
} from '../../store/lifecycle.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';

type Endpoints = Pick<
  ControlActivities,
  'loadDesired' | 'publishProjection' | 'removeEndpoint' | 'beginReplica' | 'reportReplica' | 'releaseReplica'
>;

/** The wish, the projection and the replicas' rows: straight to the store. */
export function endpointActivities({ store, config }: ControlDeps): Endpoints {
  const { maxStartFailures, retryBaseSeconds, retryMaxSeconds } = config.lifecycle;
  const limits = {
    maxStartFailures,
    retryBaseMs: retryBaseSeconds * 1000,
    retryMaxMs: retryMaxSeconds * 1000,
  };
  return {
    loadDesired: (at) => loadDesired(store, at, limits),
    publishProjection: ({ endpointId, projection }) => publishProjection(store, endpointId, projection),
    removeEndpoint: ({ endpointId }) => removeEndpoint(store, endpointId),
    beginReplica: (replica) => beginReplica(store, replica),
    reportReplica: (report) => reportReplica(store, report),
    releaseReplica: (release) => releaseReplica(store, release),
  };
}
