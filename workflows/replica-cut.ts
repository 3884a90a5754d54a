import { condition } from '@temporalio/workflow';
import type { Failure } from '../spec/errors.ts';
import { failureOf } from './causes.ts';
import { onHost } from './options.ts';
import type { End, ReplicaState, Serving } from './replica-state.ts';

/** How a replica lives through a time in which its host does not answer the control plane. */

/**
 * Longer than a repair takes. What is left on a host that comes back later is the janitor's; nothing waits for it but a
 * workflow.
 */
const AWAITED_FOR = '24 hours';

/** Whether the loss of its host leaves something that serves, or something that is to be ended in good order. */
export function mayServeOn({ phase, rest, end, view }: ReplicaState): boolean {
  if (phase !== 'awake' || rest !== null) return false;
  return end === null ? view.stage === 'running' : end.kind === 'stop' && view.readyAt !== null;
}

/**
 * Its host is said to answer again: the replica serves on, unless its container is gone. One look; when it came to
 * nothing, because the agent does not reach Temporal yet, the host is still `back`.
 */
export async function goOn(state: ReplicaState, serving: Serving): Promise<void> {
  const failure = await whyNot(state, serving);
  if (state.host !== 'back' || state.end !== null || failure === 'unknown') return;
  if (failure) state.finish({ kind: 'failed', failure, hostGone: false });
  else {
    isHere(state);
    state.report('running', 'serving', { tell: true });
  }
}

function isHere(state: ReplicaState): void {
  state.host = 'here';
  state.view.unreachable = false;
}

/** Null: its container runs. */
async function whyNot(
  state: ReplicaState,
  { hostId, containerName }: Serving,
): Promise<Failure | 'unknown' | null> {
  const summary = `does ${containerName} still run?`;
  try {
    const containers = await state.unlessHostGone(() =>
      onHost(hostId).stop.listContainers.executeWithOptions({ summary }, []),
    );
    if (containers.some((c) => c.name === containerName && c.running !== false)) return null;
    return { code: 'HOST_LOST', message: `host ${hostId} was lost, and the container did not outlive it` };
  } catch (error) {
    const failure = failureOf(error);
    return failure.code === 'HOST_LOST' ? 'unknown' : failure;
  }
}

/** Waits with the end of a container until its host answers; false when it is no longer waited for. */
export async function awaitHost(state: ReplicaState, end: End): Promise<boolean> {
  // One that has failed has nothing left to end in good order.
  if (end.kind === 'failed' || state.abandoned) return false;
  state.report('stopping', `host ${state.hostId} does not answer: its container is stopped when it does`, {
    tell: true,
  });
  await condition(() => state.host !== 'gone' || state.abandoned, AWAITED_FOR);
  if (state.host === 'gone') return false;
  isHere(state);
  state.report('stopping', 'stopping engine', { tell: true });
  return true;
}
