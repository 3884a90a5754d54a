import {
  ActivityFailure,
  CancellationScope,
  condition,
  continueAsNew,
  type ExternalWorkflowHandle,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { HostActivities } from '../activities/interfaces.ts';
import type { Failure } from '../spec/errors.ts';
import { hostTaskQueue } from '../spec/names.ts';
import { failureOf } from './causes.ts';
import { agentJoined, type HostInput, hostFound, hostLost } from './messages.ts';
import { store } from './options.ts';

/** Silence of the watch is noticed soon; what is left of the time belongs to an agent that starts again. */
const MAX_NOTICE_MS = 10_000;
const NOTICE_SHARE = 1 / 3;
const TAKE_UP_SHARE = 1 / 6;

/**
 * One Docker host for as long as it belongs to us: one long activity on its agent watches it. When the activity's
 * heartbeats stop and nobody takes it up again, the host is lost and its replicas are told; when the agent joins
 * again, they are told too, and the watch goes on.
 */
export async function host(input: HostInput): Promise<void> {
  const { hostId } = input;
  let joined = false;
  const join = () => {
    joined = true;
  };
  setHandler(agentJoined, join, { description: 'The agent joined (again)' });

  let wasLost = false;
  for (;;) {
    joined = false;
    const { lostAfterMs } = await store.setHostState.executeWithOptions({ summary: 'in service' }, [
      { hostId, state: 'ready' },
    ]);
    setCurrentDetails('**watched**: the agent follows its containers');
    if (wasLost && patched('host-found')) await tellReplicas(hostId, (replica) => replica.signal(hostFound));
    wasLost = false;
    const cause = await watch(hostId, lostAfterMs);
    if (cause === null) return await continueAsNew<typeof host>(input);
    if (patched('ask-again') && (await answers(hostId, lostAfterMs / 2))) continue;
    log.warn('host lost', { hostId, cause: cause.message });
    await declareLost(hostId, cause);
    setCurrentDetails(`**lost**: ${cause.message}`);
    await condition(() => joined);
    wasLost = true;
  }
}

/** Returns why the watch ended, or null when it was called off for a rollover. */
async function watch(hostId: string, lostAfterMs: number): Promise<Failure | null> {
  const agent = proxyActivities<Pick<HostActivities, 'watchHost'>>({
    taskQueue: hostTaskQueue(hostId),
    startToCloseTimeout: '365 days',
    heartbeatTimeout: Math.min(MAX_NOTICE_MS, lostAfterMs * NOTICE_SHARE),
    scheduleToStartTimeout: lostAfterMs * TAKE_UP_SHARE,
    retry: { initialInterval: '1 second', backoffCoefficient: 1 },
  });
  const scope = new CancellationScope();
  const watching = scope.run(() =>
    agent.watchHost.executeWithOptions({ summary: 'follow containers' }, [{ hostId }]),
  );
  let over = false;
  const ended = watching.then(
    (): Failure => ({ code: 'HOST_LOST', message: 'the watch ended' }),
    (error: unknown) => (isCancellation(error) ? null : failureOf(error)),
  );
  ended.then(() => {
    over = true;
  });
  await condition(() => over || workflowInfo().continueAsNewSuggested);
  if (!over) scope.cancel();
  return await ended;
}

/**
 * Asks the agent, by a step that changes nothing, whether it is there. A watch that was not taken up again does not say
 * so: its time also runs out while the whole installation is down. Only silence to a question just put counts.
 */
async function answers(hostId: string, patienceMs: number): Promise<boolean> {
  const agent = proxyActivities<Pick<HostActivities, 'listContainers'>>({
    taskQueue: hostTaskQueue(hostId),
    scheduleToStartTimeout: patienceMs,
    startToCloseTimeout: '10 seconds',
    retry: { maximumAttempts: 1 },
  });
  for (;;) {
    const askedAt = Date.now();
    try {
      await agent.listContainers.executeWithOptions({ summary: 'is the agent there?' }, []);
      return true;
    } catch (error) {
      const silent = error instanceof ActivityFailure && error.cause instanceof TimeoutFailure;
      // An answer, if a bad one: Docker may be away.
      if (!silent) return true;
      // The time ran out while nothing ran that could have answered.
      if (Date.now() - askedAt < 2 * patienceMs) return false;
    }
  }
}

async function declareLost(hostId: string, cause: Failure): Promise<void> {
  await store.setHostState.executeWithOptions({ summary: 'lost' }, [{ hostId, state: 'lost' }]);
  const failure: Failure = { code: 'HOST_LOST', message: `host ${hostId} is lost: ${cause.message}` };
  await tellReplicas(hostId, (replica) => replica.signal(hostLost, failure));
}

async function tellReplicas(
  hostId: string,
  tell: (replica: ExternalWorkflowHandle) => Promise<void>,
): Promise<void> {
  for (const workflowId of await store.replicasOnHost({ hostId })) {
    await tell(getExternalWorkflowHandle(workflowId)).catch(() =>
      log.info('replica is over already', { workflowId }),
    );
  }
}
