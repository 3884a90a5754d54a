import {
  CancellationScope,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  patched,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { Failure } from '../spec/errors.ts';
import type { ReplicaPlan, ReplicaView, StopReason } from '../spec/lifecycle.ts';
import { endpointWorkflowId, replicaId } from '../spec/names.ts';
import type { ReplicaStage } from '../spec/states.ts';
import { setAttributes } from './attributes.ts';
import { failureOf } from './causes.ts';
import { containerLost, hostLost, replicaChanged, replicaView, stopReplica } from './messages.ts';
import { control, hub, onHost, store } from './options.ts';
import { newReplica } from './policy/view.ts';
import { megabytes, outcome, summaryOf } from './words.ts';

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
}

/** What a replica must remember of its start to end well. */
interface Serving {
  hostId: string;
  containerName: string;
  stopGraceMs: number;
  readyAt: number;
}

/** Why a replica's life ends. `hostGone`: there is nothing left to stop there. */
type End = { kind: 'stop'; reason: StopReason } | { kind: 'failed'; failure: Failure; hostGone: boolean };

/**
 * One replica from place to release: place → weights and image → container → first real inference → route in → serve →
 * route out → drain → stop → release. Every step may be repeated: names are derived from the replica's number, so a
 * replica started again under its number (after a lost Temporal database) adopts what is already there.
 * @returns how it ended, for whoever reads it in the Temporal UI
 */
export async function replica(input: ReplicaInput): Promise<string> {
  return await new Replica(input).run();
}

class Replica {
  readonly #input: ReplicaInput;
  readonly #id: string;
  readonly #view: ReplicaView;
  #hostId: string | null = null;
  #container: { name: string; stopGraceMs: number } | null = null;
  #end: End | null = null;
  #starting: CancellationScope | null = null;
  #reports: Promise<void> = Promise.resolve();

  constructor(input: ReplicaInput) {
    this.#input = input;
    this.#id = replicaId(input.endpointId, input.number);
    this.#view = newReplica(input.number, input.revision, Date.now());
    setHandler(stopReplica, ({ reason }) => this.#finish({ kind: 'stop', reason }), {
      description: 'Drain and stop',
    });
    setHandler(containerLost, (failure) => this.#finish({ kind: 'failed', failure, hostGone: false }), {
      description: 'The container ended or no longer answers',
    });
    setHandler(hostLost, (failure) => this.#finish({ kind: 'failed', failure, hostGone: true }), {
      description: 'The host is gone',
    });
    setHandler(replicaView, () => this.#view);
  }

  /** The first reason counts, except that a lost host overrides everything: no step there can succeed any more. */
  #finish(end: End): void {
    if (this.#end !== null && !(end.kind === 'failed' && end.hostGone)) return;
    this.#end = end;
    this.#starting?.cancel();
  }

  async run(): Promise<string> {
    const serving = this.#input.serving ?? (await this.#bringUp());
    if (serving) await this.#serve(serving);
    const end: End = this.#end ?? {
      kind: 'failed',
      failure: { code: 'UNKNOWN', message: 'ended without a cause' },
      hostGone: false,
    };
    await this.#windDown(end);
    return outcome(end);
  }

  /** Undefined when the start failed or was called off; `#end` then says why. */
  async #bringUp(): Promise<Serving | undefined> {
    const scope = new CancellationScope();
    this.#starting = scope;
    try {
      if (this.#end) return undefined;
      return await scope.run(() => this.#start());
    } catch (error) {
      if (this.#end === null) {
        if (isCancellation(error)) throw error;
        this.#end = { kind: 'failed', failure: failureOf(error), hostGone: false };
      }
      return undefined;
    } finally {
      this.#starting = null;
    }
  }

  async #start(): Promise<Serving> {
    const { endpointId, number, revision } = this.#input;
    const ref = { replicaId: this.#id, endpointId };
    await store.beginReplica({ ...ref, number, revision });
    if (!this.#input.pinned) {
      await hub.pinRevision.executeWithOptions({ summary: summaryOf(`resolve ${this.#input.model}`) }, [
        { endpointId, revision },
      ]);
    }
    const hostId = await this.#place(ref);
    this.#hostId = hostId;
    setAttributes({ EndpointHost: hostId });

    const { workflowId } = workflowInfo();
    const planned = await store.planReplica.executeWithOptions(
      { summary: 'files, container, sealed secrets' },
      [{ ...ref, number, hostId, workflowId }],
    );
    const host = onHost(hostId);
    this.#report('downloading', 'fetching weights and image', { tell: true });
    const [, image] = await Promise.all([this.#fetchWeights(host, planned), this.#fetchImage(host, planned)]);
    const plan = { ...planned, container: { ...planned.container, image } };

    this.#container = { name: plan.containerName, stopGraceMs: plan.container.stopGraceMs };
    this.#report('initializing', 'starting engine');
    await host.containers.startContainer.executeWithOptions({ summary: `start ${plan.containerName}` }, [
      plan,
    ]);
    this.#report(
      'initializing',
      plan.readiness.inference ? 'waiting for first inference' : 'waiting until it is healthy',
    );
    const { address } = await host.ready.waitReady.executeWithOptions(
      { summary: plan.readiness.inference ? 'health, then a real inference' : 'health' },
      [plan],
    );

    await store.routeIn.executeWithOptions({ summary: 'requests go to it from now on' }, [
      { ...ref, address },
    ]);
    const readyAt = Date.now();
    this.#view.readyAt = readyAt;
    this.#report('running', 'serving', { tell: true });
    return { hostId, containerName: plan.containerName, stopGraceMs: plan.container.stopGraceMs, readyAt };
  }

  async #place(ref: { replicaId: string; endpointId: string }): Promise<string> {
    const place = await store.reservePlace.executeWithOptions({ summary: 'a host with room' }, [ref]);
    if (place.hostId !== null) return place.hostId;
    this.#view.blocked = true;
    this.#report('pending', place.message, { tell: true });
    const { hostId } = await control.awaitPlace.executeWithOptions({ summary: 'wait for a host with room' }, [
      ref,
    ]);
    this.#view.blocked = false;
    return hostId;
  }

  async #fetchWeights(host: ReturnType<typeof onHost>, plan: ReplicaPlan): Promise<void> {
    if (!plan.weights) return;
    const { repository, commit, files } = plan.weights;
    const size = megabytes(files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
    const summary = summaryOf(`${size} of ${repository}@${commit.slice(0, 8)}`);
    await host.fetch.downloadWeights.executeWithOptions({ summary }, [
      { replicaId: this.#id, weights: plan.weights, sealed: plan.sealed },
    ]);
  }

  /** @returns the exact image to run: the one that all replicas of this revision run */
  async #fetchImage(host: ReturnType<typeof onHost>, plan: ReplicaPlan): Promise<string> {
    const { endpointId, revision } = this.#input;
    const { image } = plan.container;
    const pull = (pinned: string | null) =>
      host.image.pullImage.executeWithOptions({ summary: summaryOf(pinned ?? image) }, [
        { replicaId: this.#id, image, pinned, sealed: plan.sealed },
      ]);
    const own = (await pull(plan.pinnedImage ?? null)).image;
    if (own === undefined) return image;
    if (plan.pinnedImage || !patched('pin-image')) return own;
    const pinned = await store.pinImage.executeWithOptions({ summary: summaryOf(`pin ${own}`) }, [
      { endpointId, revision, image: own },
    ]);
    // Another replica was first, and the tag has moved in between.
    return pinned.image === own ? own : ((await pull(pinned.image)).image ?? pinned.image);
  }

  /** Waits for a reason to end. Rolls over when the history has grown, at an instant when nothing is under way. */
  async #serve(serving: Serving): Promise<void> {
    this.#hostId = serving.hostId;
    this.#container = { name: serving.containerName, stopGraceMs: serving.stopGraceMs };
    this.#view.readyAt = serving.readyAt;
    this.#view.hostId = serving.hostId;
    this.#view.stage = 'running';
    await condition(() => this.#end !== null || workflowInfo().continueAsNewSuggested);
    if (this.#end === null) {
      await this.#reports;
      await continueAsNew<typeof replica>({ ...this.#input, serving });
    }
  }

  /** Gives back, in reverse, whatever was taken; nothing here may be cancelled. */
  async #windDown(end: End): Promise<void> {
    await CancellationScope.nonCancellable(async () => {
      const ref = { replicaId: this.#id, endpointId: this.#input.endpointId };
      const failure = end.kind === 'failed' ? end.failure : null;
      const wasRouted = this.#view.readyAt !== null;
      if (wasRouted) {
        this.#report(
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
      await this.#reports;
      await store.releaseReplica.executeWithOptions({ summary: `its place is free: ${stage}` }, [
        { ...ref, stage, failure },
      ]);
      this.#view.failure = failure;
      this.#report(stage, failure?.message ?? 'stopped', { tell: true, stored: true });
      await this.#reports;
    });
  }

  async #stopContainer(end: End): Promise<void> {
    if (!this.#hostId || !this.#container || (end.kind === 'failed' && end.hostGone)) return;
    const { name, stopGraceMs } = this.#container;
    if (this.#view.stage !== 'stopping') this.#report('stopping', 'stopping engine');
    // A host that is lost meanwhile takes the container with it; what is left when it comes back, the janitor removes.
    const scope = new CancellationScope();
    condition(() => this.#end?.kind === 'failed' && this.#end.hostGone).then(
      () => scope.cancel(),
      () => undefined,
    );
    try {
      const { stop } = onHost(this.#hostId);
      const target = { replicaId: this.#id, containerName: name, graceMs: stopGraceMs };
      await scope.run(() => stop.stopContainer.executeWithOptions({ summary: `stop ${name}` }, [target]));
    } catch (error) {
      log.warn('container not stopped; the janitor will remove it', {
        container: name,
        cause: failureOf(error).message,
      });
    }
  }

  /**
   * Writes the stage to the store and, where the endpoint decides by it (`tell`), signals the endpoint. Reports run
   * beside the next step but in order; the store is retried until it answers.
   */
  #report(stage: ReplicaStage, message: string, options: { tell?: boolean; stored?: boolean } = {}): void {
    if (stage !== this.#view.stage) this.#view.stageSince = Date.now();
    Object.assign(this.#view, { stage, message, hostId: this.#hostId });
    setCurrentDetails(`**${stage}**: ${message}\n\nhost: ${this.#hostId ?? 'none yet'}`);
    const view = { ...this.#view };
    const { namespace, name } = this.#input;
    const send = async () => {
      const told = options.tell
        ? getExternalWorkflowHandle(endpointWorkflowId(namespace, name))
            .signal(replicaChanged, view)
            .catch((error: unknown) => log.warn('endpoint not told', { stage, cause: String(error) }))
        : undefined;
      if (!options.stored) {
        await store.reportReplica.executeWithOptions({ summary: summaryOf(`${stage}: ${message}`) }, [
          { replicaId: this.#id, stage, message, failure: view.failure },
        ]);
      }
      await told;
    };
    // A start that is called off must not take its reports with it.
    this.#reports = this.#reports.then(() => CancellationScope.nonCancellable(send));
    this.#reports.catch(() => undefined);
  }
}
