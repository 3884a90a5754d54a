import {
  CancellationScope,
  CancelledFailure,
  condition,
  isCancellation,
  log,
  workflowInfo,
} from '@temporalio/workflow';
import type { StopReason } from '../spec/lifecycle.ts';
import type { Standby } from '../spec/states.ts';
import { failureOf } from './causes.ts';
import { control, onHost, store } from './options.ts';
import { open } from './replica-start.ts';
import type { Container, ReplicaState, Resting, Serving } from './replica-state.ts';

/** How a replica rests while its endpoint is at zero, and how it serves again. */

/**
 * Route out, drain, stop or freeze. Undefined when it is not at rest after that: it serves on because it was called
 * back in time, or it ends because its container could not be kept.
 */
export async function goToRest(state: ReplicaState, serving: Serving): Promise<Resting | undefined> {
  const { ref, rest: standby } = state;
  if (!standby) return undefined;
  state.report('draining', 'draining: scaledToZero', { tell: true });
  const { version } = await store.routeOut.executeWithOptions({ summary: 'no new requests' }, [ref]);
  const drained = await drainUnlessCalled(state, version);
  if (state.end !== null) return undefined;
  if (state.rest === null) {
    await store.routeBack.executeWithOptions({ summary: 'requests again: its rest was called off' }, [ref]);
    state.report('running', 'serving', { tell: true });
    return undefined;
  }
  const container = { name: serving.containerName, stopGraceMs: serving.stopGraceMs };
  if (drained) {
    state.phase = 'resting';
    state.view.readyAt = null;
    if (await keep(state, serving.hostId, container, standby)) {
      return { hostId: serving.hostId, standby, container };
    }
  }
  state.finish({ kind: 'stop', reason: 'scaledToZero' });
  return undefined;
}

/** False when requests were still in flight at the deadline, or when something else came first. */
async function drainUnlessCalled(state: ReplicaState, version: number): Promise<boolean> {
  const scope = new CancellationScope();
  condition(() => state.end !== null || state.rest === null).then(
    () => scope.cancel(),
    () => undefined,
  );
  try {
    const { drained } = await scope.run(() =>
      control.drain.executeWithOptions({ summary: 'requests in flight end' }, [{ ...state.ref, version }]),
    );
    return drained;
  } catch (error) {
    if (!isCancellation(error)) throw error;
    return false;
  }
}

async function keep(
  state: ReplicaState,
  hostId: string,
  { name, stopGraceMs }: Container,
  standby: Standby,
): Promise<boolean> {
  const { replicaId } = state.ref;
  const { stop } = onHost(hostId);
  const target = { replicaId, containerName: name, graceMs: stopGraceMs, standby };
  try {
    const { rested } = await state.unlessHostGone(() =>
      stop.restContainer.executeWithOptions({ summary: `${standby}: ${name}` }, [target]),
    );
    return rested;
  } catch (error) {
    log.warn('container not kept', { container: name, cause: failureOf(error).message });
    return false;
  }
}

/** Notes in the store that it rests, and waits until it is asked to serve or to end; `rollOver` when history has grown. */
export async function beAtRest(
  state: ReplicaState,
  resting: Resting,
  rollOver: (resting: Resting) => Promise<void>,
): Promise<void> {
  const { hostId, standby } = resting;
  state.hostId = hostId;
  const container = resting.container ?? (await findAtRest(state, resting));
  if (!container) return;
  state.container = container;
  const message = `${standby} while the endpoint is scaled to zero`;
  await state.reported();
  await store.restReplica.executeWithOptions({ summary: `at rest: ${standby}` }, [
    { ...state.ref, standby, message },
  ]);
  state.report('standby', message, { tell: true, stored: true });
  const called = () => state.end !== null || state.rest === null;
  await condition(() => called() || workflowInfo().continueAsNewSuggested);
  if (!called()) await rollOver({ hostId, standby, container });
}

/** Only the store knew of it: its container may be at rest, or already awake again, or gone. */
async function findAtRest(state: ReplicaState, { hostId, standby }: Resting): Promise<Container | undefined> {
  const { number } = state.input;
  const { workflowId } = workflowInfo();
  const plan = await store.planReplica.executeWithOptions({ summary: 'which container it was' }, [
    { ...state.ref, number, hostId, workflowId },
  ]);
  state.container = { name: plan.containerName, stopGraceMs: plan.container.stopGraceMs };
  if (await keep(state, hostId, state.container, standby)) return state.container;
  state.finish({ kind: 'stop', reason: 'lostAtRest' });
  return undefined;
}

/** Its place again, thaw or start, route in. Throws when that is not possible; then another replica is started. */
export async function resume(state: ReplicaState, { hostId, standby }: Resting): Promise<Serving> {
  const { ref, container } = state;
  if (!container) throw new Error('no container at rest');
  const { name, stopGraceMs } = container;
  const place = await store.retakePlace.executeWithOptions({ summary: 'its place again' }, [ref]);
  if (!place) return notWoken(state, 'noRoomToWake');
  const summary = `${standby === 'frozen' ? 'thaw' : 'start'} ${name}`;
  const resumed = await onHost(hostId)
    .ready.resumeContainer.executeWithOptions({ summary }, [
      { replicaId: ref.replicaId, containerName: name, gpus: place.gpus },
    ])
    .catch((error: unknown) => {
      if (isCancellation(error)) throw error;
      return { address: null, reason: failureOf(error).message };
    });
  if (resumed.address === null) {
    log.warn('kept container not used', { container: name, cause: resumed.reason });
    return notWoken(state, 'lostAtRest');
  }
  return await open(state, resumed.address, { hostId, containerName: name, stopGraceMs });
}

function notWoken(state: ReplicaState, reason: StopReason): never {
  state.finish({ kind: 'stop', reason });
  throw new CancelledFailure(reason);
}
