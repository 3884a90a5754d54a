import { proxyActivities, proxyLocalActivities } from '@temporalio/workflow';
import type { ControlActivities, HostActivities } from '../activities/interfaces.ts';
import { hostTaskQueue } from '../spec/names.ts';

/**
 * How each activity is called: its queue, how long one attempt may take, how it is repeated. A step that only touches
 * the store is a local activity: it costs one event and no way through the task queue.
 */

/** Retried for ever: while the store is away the workflow waits, it does not fail. */
export const store = proxyLocalActivities<
  Pick<
    ControlActivities,
    | 'loadDesired'
    | 'publishProjection'
    | 'removeEndpoint'
    | 'beginReplica'
    | 'reportReplica'
    | 'reservePlace'
    | 'planReplica'
    | 'prepareReplica'
    | 'pinImage'
    | 'routeIn'
    | 'openReplica'
    | 'routeOut'
    | 'routeBack'
    | 'restReplica'
    | 'retakePlace'
    | 'releaseReplica'
    | 'setHostState'
    | 'replicasOnHost'
    | 'listHosts'
    | 'sweepStore'
    | 'fireSchedule'
  >
>({
  startToCloseTimeout: '10 seconds',
  localRetryThreshold: '10 seconds',
  retry: { initialInterval: '200ms', maximumInterval: '5 seconds' },
});

/** Control activities that take a while: a place on a host, in-flight requests, the watch on a new revision. */
export const control = proxyActivities<Pick<ControlActivities, 'awaitPlace' | 'drain' | 'watchBake'>>({
  startToCloseTimeout: '24 hours',
  heartbeatTimeout: '10 seconds',
  retry: { initialInterval: '500ms', maximumInterval: '10 seconds' },
});

export const hub = proxyActivities<Pick<ControlActivities, 'pinRevision'>>({
  startToCloseTimeout: '1 minute',
  heartbeatTimeout: '10 seconds',
  retry: { initialInterval: '2 seconds', maximumInterval: '1 minute' },
});

export const janitorSteps = proxyActivities<Pick<ControlActivities, 'findOrphans' | 'repairSchedules'>>({
  startToCloseTimeout: '10 seconds',
  retry: { maximumAttempts: 3 },
});

/**
 * The activities of one host. Its agent may be restarting, so a task waits a minute for it; a task that nobody picks up
 * for longer means the host is lost. A running one is noticed by its missing heartbeats.
 */
export function onHost(hostId: string) {
  const common = { taskQueue: hostTaskQueue(hostId), scheduleToStartTimeout: '1 minute' } as const;
  const retry = { initialInterval: '1 second', maximumInterval: '30 seconds' } as const;
  return {
    fetch: proxyActivities<Pick<HostActivities, 'downloadWeights'>>({
      ...common,
      startToCloseTimeout: '12 hours',
      heartbeatTimeout: '15 seconds',
      retry: { ...retry, maximumAttempts: 20 },
    }),
    // A registry that is away gets a minute of pauses in each start: its owner may have mistyped its name, and should
    // know soon. With the three starts of an endpoint that is 3 minutes when it refuses, 12 when it keeps silent.
    image: proxyActivities<Pick<HostActivities, 'pullImage'>>({
      ...common,
      startToCloseTimeout: '12 hours',
      heartbeatTimeout: '15 seconds',
      retry: { initialInterval: '2 seconds', maximumInterval: '30 seconds', maximumAttempts: 6 },
    }),
    containers: proxyActivities<Pick<HostActivities, 'startContainer'>>({
      ...common,
      startToCloseTimeout: '2 minutes',
      heartbeatTimeout: '10 seconds',
      retry: { ...retry, maximumAttempts: 5 },
    }),
    ready: proxyActivities<Pick<HostActivities, 'startReady' | 'waitReady' | 'resumeContainer'>>({
      ...common,
      startToCloseTimeout: '6 hours',
      heartbeatTimeout: '15 seconds',
      retry: { ...retry, maximumAttempts: 5 },
    }),
    // A log is told with a cause that counts without it: it is waited for only a moment.
    log: proxyActivities<Pick<HostActivities, 'tailLog'>>({
      taskQueue: hostTaskQueue(hostId),
      scheduleToCloseTimeout: '10 seconds',
      retry: { maximumAttempts: 2 },
    }),
    stop: proxyActivities<
      Pick<HostActivities, 'stopContainer' | 'restContainer' | 'removeContainers' | 'listContainers'>
    >({
      ...common,
      startToCloseTimeout: '5 minutes',
      heartbeatTimeout: '10 seconds',
      retry: { ...retry, maximumAttempts: 20 },
    }),
  };
}
