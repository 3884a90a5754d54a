import {
  CancellationScope,
  condition,
  continueAsNew,
  isCancellation,
  log,
  patched,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { Failure } from '../spec/errors.ts';
import type { StopReason } from '../spec/lifecycle.ts';
import type { Standby } from '../spec/states.ts';
import { failureOf } from './causes.ts';
import { containerLost, hostFound, hostLost, replicaView, resumeReplica, stopReplica } from './messages.ts';
import { control, onHost, store } from './options.ts';
import { awaitHost, goOn, mayServeOn } from './replica-cut.ts';
import { beAtRest, goToRest, resume } from './replica-rest.ts';
import { start } from './replica-start.ts';
import { type End, type ReplicaInput, ReplicaState, type Resting, type Serving } from './replica-state.ts';
import { outcome } from './words.ts';

/**
 * One replica from place to release: place → weights and image → container → first real inference → route in → serve →
 * route out → drain → stop → release; between two times of service it may rest, with its container kept. While its host
 * does not answer the control plane, requests go on to it, and what is to be done there waits. Every step may
 * be repeated: names are derived from the replica's number, so a replica started again under its number (after a lost
 * Temporal database) adopts what is already there.
 * @returns how it ended, for whoever reads it in the Temporal UI
 */
export async function replica(input: ReplicaInput): Promise<string> {
  return await new Replica(input).run();
}

class Replica {
  readonly #state: ReplicaState;

  constructor(input: ReplicaInput) {
    const state = new ReplicaState(input);
    this.#state = state;
    setHandler(stopReplica, (asked) => this.#stop(asked), {
      description: 'Drain and stop, or rest',
    });
    setHandler(resumeReplica, () => this.#resume(), {
      description: 'Serve again',
    });
    setHandler(containerLost, (failure) => this.#lost(failure, false), {
      description: 'The container ended or no longer answers',
    });
    setHandler(hostLost, (failure) => this.#lost(failure, true), {
      description: 'The host does not answer',
    });
    setHandler(hostFound, () => this.#found(), {
      description: 'The host answers again',
    });
    setHandler(replicaView, () => this.#state.view);
  }

  #stop({ reason, standby, failure }: { reason: StopReason; standby?: Standby; failure?: Failure }): void {
    const state = this.#state;
    // Placement looked while it still rested.
    if (reason === 'memoryNeeded' && state.phase !== 'resting') return;
    if (reason === 'deleted') state.abandoned = true;
    if (standby && state.view.stage === 'running' && state.host === 'here') state.rest = standby;
    else state.finish({ kind: 'stop', reason, ...(failure ? { failure } : {}) });
  }

  #resume(): void {
    this.#state.rest = null;
  }

  #found(): void {
    if (this.#state.host === 'gone') this.#state.host = 'back';
  }

  /** What rests is not missed: a later start is a new one. What wakes is looked after by the step that wakes it. */
  #lost(failure: Failure, hostGone: boolean): void {
    const state = this.#state;
    // Until 0.2 a lost host took along all that served there.
    if (hostGone && mayServeOn(state) && patched('serve-on')) {
      state.cutOff();
      if (state.end === null)
        state.report('running', `${failure.message}; requests go on to it`, { tell: true });
      return;
    }
    if (state.phase === 'resting') state.finish({ kind: 'stop', reason: 'lostAtRest', hostGone });
    else if (hostGone || state.phase !== 'waking') state.finish({ kind: 'failed', failure, hostGone });
  }

  async run(): Promise<string> {
    const state = this.#state;
    let { serving, resting } = state.input;
    // Told to stop between two runs: what it has to end is what it served by. Until 0.2 that was forgotten.
    if (serving && state.end !== null && patched('ends-between-runs')) this.#serves(serving);
    if (!serving && !resting) serving = await this.#bringUp(() => start(state));
    while (state.end === null && (serving || resting)) {
      if (serving) {
        await this.#serve(serving);
        resting = state.end === null ? await goToRest(state, serving) : undefined;
        // One whose rest was called off serves on.
        if (resting) serving = undefined;
      } else if (resting) {
        serving = await this.#restUntilCalled(resting);
        resting = undefined;
      }
    }
    const end: End = state.end ?? {
      kind: 'failed',
      failure: { code: 'UNKNOWN', message: 'ended without a cause' },
      hostGone: false,
    };
    await this.#windDown(end);
    return outcome(end);
  }

  /** Undefined when it ends, or cannot serve any more: then the endpoint starts another one. */
  async #restUntilCalled(resting: Resting): Promise<Serving | undefined> {
    const state = this.#state;
    await beAtRest(state, resting, (asItIs) => this.#rollOver({ resting: asItIs }));
    if (state.end !== null) return undefined;
    state.phase = 'waking';
    const serving = await this.#bringUp(() => resume(state, resting));
    state.phase = 'awake';
    return serving;
  }

  /** Undefined when the start failed or was called off; `end` then says why. */
  async #bringUp(start: () => Promise<Serving>): Promise<Serving | undefined> {
    const scope = new CancellationScope();
    this.#state.starting = scope;
    try {
      if (this.#state.end) return undefined;
      return await scope.run(start);
    } catch (error) {
      if (this.#state.end === null) {
        if (isCancellation(error)) throw error;
        this.#state.end = { kind: 'failed', failure: failureOf(error), hostGone: false };
      }
      return undefined;
    } finally {
      this.#state.starting = null;
    }
  }

  #serves({ hostId, containerName, stopGraceMs, readyAt }: Serving): void {
    this.#state.hostId = hostId;
    this.#state.container = { name: containerName, stopGraceMs };
    Object.assign(this.#state.view, { readyAt, hostId, stage: 'running' });
  }

  /** Waits for a reason to end. Rolls over when the history has grown, at an instant when nothing is under way. */
  async #serve(serving: Serving): Promise<void> {
    const state = this.#state;
    this.#serves(serving);
    const called = () => state.end !== null || state.rest !== null;
    for (;;) {
      const mayRollOver = () => workflowInfo().continueAsNewSuggested && state.host !== 'back';
      await condition(() => called() || state.host === 'back' || mayRollOver());
      if (called()) return;
      if (state.host === 'back') await goOn(state, serving);
      else await this.#rollOver({ serving: { ...serving, cutOff: state.host === 'gone' } });
    }
  }

  async #rollOver(state: { serving: Serving } | { resting: Resting }): Promise<void> {
    await this.#state.reported();
    const { serving: _, resting: __, ...input } = this.#state.input;
    await continueAsNew<typeof replica>({ ...input, ...state });
  }

  /** Gives back, in reverse, whatever was taken; nothing here may be cancelled. */
  async #windDown(end: End): Promise<void> {
    await CancellationScope.nonCancellable(async () => {
      const ref = { replicaId: this.#state.ref.replicaId, endpointId: this.#state.input.endpointId };
      const failure = end.failure ?? null;
      const wasRouted = this.#state.view.readyAt !== null;
      if (wasRouted) {
        this.#state.report(
          end.kind === 'stop' ? 'draining' : 'stopping',
          end.kind === 'stop' ? `draining: ${end.reason}` : (failure?.message ?? ''),
          { tell: true },
        );
        const { version } = await store.routeOut.executeWithOptions({ summary: 'no new requests' }, [ref]);
        if (end.kind === 'stop') {
          await control.drain.executeWithOptions({ summary: 'requests in flight end' }, [
            { ...ref, version },
          ]);
        }
      }
      await this.#stopContainer(end);
      const stage = failure ? 'failed' : 'stopped';
      await this.#state.reported();
      await store.releaseReplica.executeWithOptions({ summary: `its place is free: ${stage}` }, [
        { ...ref, stage, failure },
      ]);
      this.#state.view.failure = failure;
      this.#state.report(stage, failure?.message ?? 'stopped', { tell: true, stored: true });
      await this.#state.reported();
    });
  }

  async #stopContainer(end: End): Promise<void> {
    const state = this.#state;
    if (!state.hostId || !state.container || end.hostGone) return;
    const { name, stopGraceMs } = state.container;
    const { stop } = onHost(state.hostId);
    const target = { replicaId: state.ref.replicaId, containerName: name, graceMs: stopGraceMs };
    for (;;) {
      if (state.host === 'gone' && !(await awaitHost(state, end))) return;
      if (state.view.stage !== 'stopping') state.report('stopping', 'stopping engine');
      try {
        await state.unlessHostGone(() =>
          stop.stopContainer.executeWithOptions({ summary: `stop ${name}` }, [target]),
        );
        return;
      } catch (error) {
        // Lost meanwhile, it is waited for.
        if (this.#state.host === 'gone') continue;
        log.warn('container not stopped; the janitor will remove it', {
          container: name,
          cause: failureOf(error).message,
        });
        return;
      }
    }
  }
}
