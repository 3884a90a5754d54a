import {
  CancellationScope,
  condition,
  getExternalWorkflowHandle,
  log,
  setCurrentDetails,
} from '@temporalio/workflow';
import type { Failure } from '../spec/errors.ts';
import type { ReplicaView, StopReason } from '../spec/lifecycle.ts';
import { endpointWorkflowId, replicaId } from '../spec/names.ts';
import type { ReplicaStage, Standby } from '../spec/states.ts';
import { replicaChanged } from './messages.ts';
import { store } from './options.ts';
import { newReplica } from './policy/view.ts';
import { summaryOf } from './words.ts';

export interface ReplicaInput {
  endpointId: string;
  namespace: string;
  name: string;
  number: number;
  revision: number;
  engine: string;
  model: string;
  /** The model is already resolved to a commit; otherwise that is this replica's first step. */
  pinned: boolean;
  /** Set when a serving replica goes on in a new run. */
  serving?: Serving;
  /** Set when a resting one does, or when the store says that it rests and its workflow was lost. */
  resting?: Resting;
}

/** What a replica must remember of its start to end well. */
export interface Serving {
  hostId: string;
  containerName: string;
  stopGraceMs: number;
  readyAt: number;
  /** Its host did not answer when the run before ended. */
  cutOff?: boolean;
}

/** What is kept of a replica while its endpoint is at zero, and where. */
export interface Resting {
  hostId: string;
  standby: Standby;
  /** Absent when only the store knew of it. */
  container?: Container;
}

export interface Container {
  name: string;
  stopGraceMs: number;
}

/** Why a replica's life ends. `hostGone`: there is nothing left to stop there. */
export type End =
  | { kind: 'stop'; reason: StopReason; failure?: Failure; hostGone?: boolean }
  | { kind: 'failed'; failure: Failure; hostGone: boolean };

/** What one replica knows of itself, what it was told, and how it tells others. */
export class ReplicaState {
  readonly input: ReplicaInput;
  readonly ref: { replicaId: string; endpointId: string };
  readonly view: ReplicaView;
  hostId: string | null = null;
  container: Container | null = null;
  end: End | null = null;
  /** The start or wake under way. */
  starting: CancellationScope | null = null;
  /** How it should rest, from when it is asked to until it is asked to serve again. */
  rest: Standby | null;
  /** `resting` from when no request can reach it until it is asked to serve; then `waking` until it does. */
  phase: 'awake' | 'resting' | 'waking';
  /** `gone` while its host does not answer; `back` from when it does until it is known what has become of the container. */
  host: 'here' | 'gone' | 'back' = 'here';
  /** Nobody waits for a host that does not answer: the endpoint itself is to go. */
  abandoned = false;
  #reports: Promise<void> = Promise.resolve();

  constructor(input: ReplicaInput) {
    this.input = input;
    this.ref = { replicaId: replicaId(input.endpointId, input.number), endpointId: input.endpointId };
    this.view = newReplica(input.number, input.revision, Date.now());
    if (input.serving) this.view.stage = 'running';
    if (input.serving?.cutOff) this.cutOff();
    this.rest = input.resting?.standby ?? null;
    this.phase = input.resting ? 'resting' : 'awake';
  }

  /** The first reason counts, except that a lost host overrides everything: no step there can succeed any more. */
  finish(end: End): void {
    if (this.end !== null && !end.hostGone) return;
    this.end = end;
    this.starting?.cancel();
  }

  /** Its host does not answer; the gateways may reach it all the same. */
  cutOff(): void {
    this.host = 'gone';
    this.view.unreachable = true;
  }

  /** A step on the host that is called off when the host is lost meanwhile. */
  async unlessHostGone<T>(step: () => Promise<T>): Promise<T> {
    const scope = new CancellationScope();
    condition(() => this.end?.hostGone === true || this.host === 'gone').then(
      () => scope.cancel(),
      () => undefined,
    );
    return await scope.run(step);
  }

  /** All that was reported so far is stored and told. */
  async reported(): Promise<void> {
    await this.#reports;
  }

  /**
   * Writes the stage to the store and, where the endpoint decides by it (`tell`), signals the endpoint. Reports run
   * beside the next step but in order; the store is retried until it answers. `stored`: another step wrote it.
   */
  report(stage: ReplicaStage, message: string, options: { tell?: boolean; stored?: boolean } = {}): void {
    if (stage !== this.view.stage) this.view.stageSince = Date.now();
    Object.assign(this.view, { stage, message, hostId: this.hostId });
    setCurrentDetails(`**${stage}**: ${message}\n\nhost: ${this.hostId ?? 'none yet'}`);
    const view = { ...this.view };
    const { namespace, name } = this.input;
    const send = async () => {
      const told = options.tell
        ? getExternalWorkflowHandle(endpointWorkflowId(namespace, name))
            .signal(replicaChanged, view)
            .catch((error: unknown) => log.warn('endpoint not told', { stage, cause: String(error) }))
        : undefined;
      if (!options.stored) {
        await store.reportReplica.executeWithOptions({ summary: summaryOf(`${stage}: ${message}`) }, [
          { replicaId: this.ref.replicaId, stage, message, failure: view.failure },
        ]);
      }
      await told;
    };
    // A start that is called off must not take its reports with it.
    this.#reports = this.#reports.then(() => CancellationScope.nonCancellable(send));
    this.#reports.catch(() => undefined);
  }
}
