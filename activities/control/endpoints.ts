import { dropSchedule } from '../../runtime/schedules.ts';
import {
  beginReplica,
  loadDesired,
  publishProjection,
  releaseReplica,
  removeEndpoint,
  reportReplica,
} from '../../store/lifecycle.ts';
import { scheduleNames } from '../../store/schedules.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';

type Endpoints = Pick<
  ControlActivities,
  'loadDesired' | 'publishProjection' | 'removeEndpoint' | 'beginReplica' | 'reportReplica' | 'releaseReplica'
>;

/** The wish, the projection and the replicas' rows: straight to the store. */
export function endpointActivities({ store, config, temporal }: ControlDeps): Endpoints {
  const { maxStartFailures, retryBaseSeconds, retryMaxSeconds } = config.lifecycle;
  const limits = {
    maxStartFailures,
    retryBaseMs: retryBaseSeconds * 1000,
    retryMaxMs: retryMaxSeconds * 1000,
  };
  const { bakeSeconds, bakeRequests, maxErrorPercent } = config.rollout;
  const bake = { seconds: bakeSeconds, requests: bakeRequests, maxErrorPercent };
  return {
    loadDesired: (at) => loadDesired(store, at, { limits, bake }),
    publishProjection: ({ endpointId, projection }) => publishProjection(store, endpointId, projection),
    removeEndpoint: async ({ endpointId }) => {
      for (const name of await scheduleNames(store, endpointId))
        await dropSchedule(temporal, endpointId, name);
      await removeEndpoint(store, endpointId);
    },
    beginReplica: (replica) => beginReplica(store, replica),
    reportReplica: (report) => reportReplica(store, report),
    releaseReplica: (release) => releaseReplica(store, release),
  };
}
