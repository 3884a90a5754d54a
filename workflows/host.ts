import {
  CancellationScope,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { HostActivities } from '../activities/interfaces.ts';
import type { Failure } from '../spec/errors.ts';
import { hostTaskQueue } from '../spec/names.ts';
import { failureOf } from './causes.ts';
import { agentJoined, type HostInput, hostLost } from './messages.ts';
import { store } from './options.ts';

const MAX_NOTICE_MS = 10_000;

/**
 * One Docker host for as long as it belongs to us: one long activity on its agent watches it. When the activity's
 * heartbeats stop and nobody takes it up again, the host is lost and its replicas are told; when the agent joins
 * again, the watch goes on.
 */
export async function host(input: HostInput): Promise<void> {
  const { hostId } = input;
  let joined = false;
  const join = () => {
    joined = true;
  };
  setHandler(agentJoined, join, { description: 'The agent joined (again)' });

  for (;;) {
    joined = false;
    const { lostAfterMs } = await store.setHostState({ hostId, state: 'ready' });
    setCurrentDetails('**watched**: the agent follows its containers');
    const cause = await watch(hostId, lostAfterMs);
    if (cause === null) return await continueAsNew<typeof host>(input);
    log.warn('host lost', { hostId, cause: cause.message });
    await declareLost(hostId, cause);
    setCurrentDetails(`**lost**: ${cause.message}`);
    await condition(() => joined);
  }
}

/**
 * Returns why the watch ended, or null when it was called off for a rollover. One that was asked for long ago may have
 * run out of time while nothing ran, the server and its clock included: then the agent is asked once more, and only
 * silence to a question just put says that it is gone.
 */
async function watch(hostId: string, lostAfterMs: number): Promise<Failure | null> {
  const noticeMs = Math.min(MAX_NOTICE_MS, lostAfterMs / 2);
  const patienceMs = (lostAfterMs - noticeMs) / 2;
  for (;;) {
    const askedAt = Date.now();
    const cause = await follow(hostId, noticeMs, patienceMs);
    const justAsked = Date.now() - askedAt < 2 * patienceMs;
    if (cause === null || justAsked || !patched('ask-again')) return cause;
    log.info('the watch ran out; asking the agent once more', { hostId, cause: cause.message });
  }
}

/** One watch: silence is noticed after `noticeMs`, and a restarted agent has `patienceMs` to take it up again. */
async function follow(hostId: string, noticeMs: number, patienceMs: number): Promise<Failure | null> {
  const agent = proxyActivities<Pick<HostActivities, 'watchHost'>>({
    taskQueue: hostTaskQueue(hostId),
    startToCloseTimeout: '365 days',
    heartbeatTimeout: noticeMs,
    scheduleToStartTimeout: patienceMs,
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

async function declareLost(hostId: string, cause: Failure): Promise<void> {
  await store.setHostState({ hostId, state: 'lost' });
  const failure: Failure = { code: 'HOST_LOST', message: `host ${hostId} is lost: ${cause.message}` };
  for (const workflowId of await store.replicasOnHost({ hostId })) {
    await getExternalWorkflowHandle(workflowId)
      .signal(hostLost, failure)
      .catch(() => log.info('replica is over already', { workflowId }));
  }
}
