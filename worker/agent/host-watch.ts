import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { engineKeyOf, secretsOf } from '../../activities/containers/create.ts';
import { inspectContainer, removeContainer } from '../../activities/containers/docker.ts';
import { exitFailure, withLog } from '../../activities/containers/end.ts';
import { readLog } from '../../activities/containers/logs.ts';
import type { ReplicaRecord, ReplicaRecords } from '../../activities/containers/records.ts';
import { redact } from '../../activities/containers/redact.ts';
import { stoppedAnswering, stoppedInferring } from '../../activities/health/diagnosis.ts';
import { ask } from '../../activities/health/probe.ts';
import type { Logger } from '../../runtime/log.ts';
import { errorMessage, type Failure } from '../../spec/errors.ts';
import { LABELS } from '../../spec/names.ts';
import { Bell } from './bell.ts';
import { CpuMeter } from './cpu.ts';
import { followEvents } from './events.ts';
import { afterProbe, isFault, isLost, mayBeBusy, type Silence } from './silence.ts';

/** Docker's events make this quicker; it is what counts when they are missed. */
const COMPARE_EVERY_MS = 5000;
/** How often every ready replica is asked for its health; three bad answers in a row, 15 s, make it lost. */
const PROBE_EVERY_MS = 5000;
/** In rounds: how often a healthy one is asked for a real inference too; in every round once one has failed. */
const INFER_EVERY_ROUNDS = 4;
/** In rounds: an idle engine answers a smallest question in far less. */
const INFER_TIMEOUT_ROUNDS = 2;
/** After a signal that did not get through. */
const RETRY_MS = 1000;

export interface WatchDeps {
  docker: Docker;
  installation: string;
  records: ReplicaRecords;
  log: Logger;
  /** Tells a replica's workflow that its container is lost; `gone` when that workflow is over. Throws when unheard. */
  signal(workflowId: string, failure: Failure): Promise<'delivered' | 'gone'>;
  /** Told of every loss, for what it says about the host. */
  onLoss?(plan: ReplicaRecord['plan'], failure: Failure): void;
  /** Default 5 s; how long a silent replica is waited for follows from it. */
  probeEveryMs?: number;
}

/** Of one container: when it is asked for an inference next, and since when none has succeeded. */
interface Inference {
  nextAt: number;
  silence: Silence | null;
}

/**
 * Looks after the ready and the frozen replicas of a host, by comparing what is recorded with what runs: after a restart of Docker or
 * of the agent the same look finds what was missed. A replica that is still starting is left to `waitReady`.
 */
export class HostWatch {
  readonly #deps: WatchDeps;
  readonly #bell = new Bell();
  readonly #cpu: CpuMeter;
  readonly #roundMs: number;
  /** Containers of which Docker said that they ended: its list goes on calling them running for a moment. */
  readonly #suspects = new Set<string>();
  /** By container: its workflow knows; it is for the workflow to stop it. */
  readonly #told = new Set<string>();
  readonly #silences = new Map<string, Silence>();
  readonly #inferences = new Map<string, Inference>();
  /** Ready replicas at the last look. */
  replicas = 0;
  #outage = false;
  #unheard = false;

  constructor(deps: WatchDeps) {
    this.#deps = deps;
    this.#cpu = new CpuMeter(deps.docker);
    this.#roundMs = deps.probeEveryMs ?? PROBE_EVERY_MS;
  }

  /** Returns when `signal` is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { docker, installation } = this.#deps;
    await Promise.all([
      followEvents(docker, installation, (id) => this.#onEnd(id), signal),
      this.#compareOnAndOn(signal),
      this.#probeOnAndOn(signal),
    ]);
  }

  #onEnd(containerId: string | null): void {
    if (containerId) this.#suspects.add(containerId);
    this.#bell.ring();
  }

  async #compareOnAndOn(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        this.#unheard = false;
        await this.#compare();
        if (this.#outage) this.#deps.log.info('Docker answers again');
        this.#outage = false;
      } catch (error) {
        if (!this.#outage) this.#deps.log.warn({ reason: errorMessage(error) }, 'cannot look at containers');
        this.#outage = true;
      }
      await this.#bell.wait(this.#unheard ? RETRY_MS : COMPARE_EVERY_MS, signal);
    }
  }

  /** Containers first, records second: one that is stopped on purpose loses its record before it stops. */
  async #compare(): Promise<void> {
    const { docker, installation, records } = this.#deps;
    const suspects = new Set(this.#suspects);
    this.#suspects.clear();
    const containers = await docker.listContainers({
      filters: { label: [`${LABELS.installation}=${installation}`], status: ['running', 'paused'] },
    });
    const running = new Set(containers.map(({ Id }) => Id).filter((id) => !suspects.has(id)));
    const recorded = await records.all();
    this.#forget(recorded);
    this.replicas = recorded.filter(({ readyAt }) => readyAt).length;
    // A frozen one holds memory in vain once it is dead; a stopped one is not meant to run.
    const expected = recorded.filter((record) => record.readyAt || record.standby === 'frozen');
    const missing = expected.filter((record) => !running.has(record.containerId));
    await Promise.all(missing.map((record) => this.#ended(record)));
  }

  async #ended(record: ReplicaRecord): Promise<void> {
    const { docker } = this.#deps;
    const info = await inspectContainer(docker, record.containerId);
    // Started since the list was made.
    if (info?.State.Running) return;
    await this.#tell(record, () => exitFailure(docker, info, record.plan.readiness.engine));
  }

  async #probeOnAndOn(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const next = sleep(this.#roundMs, undefined, { signal }).catch(() => undefined);
      const recorded = await this.#deps.records.all();
      await Promise.all(
        recorded
          .filter((record) => record.readyAt && !this.#told.has(record.containerId))
          .map((record) => this.#probe(record, signal)),
      ).catch((error: unknown) => {
        if (!signal.aborted)
          this.#deps.log.warn({ reason: errorMessage(error) }, 'a probe could not be made');
      });
      await next;
    }
  }

  async #probe(record: ReplicaRecord, signal: AbortSignal): Promise<void> {
    const { health, engine } = record.plan.readiness;
    if (!health) return;
    const { docker } = this.#deps;
    const id = record.containerId;
    const info = await inspectContainer(docker, id).catch(() => null);
    const key = info && engineKeyOf(info, engine);
    const timeoutMs = Math.min(health.timeoutMs, this.#roundMs);
    const outcome = await ask(record.address, { ...health, timeoutMs }, key, signal);
    // The container's end is the other loop's business.
    if (outcome.kind !== 'ok' && info && !info.State.Running) return;
    const busy = outcome.kind === 'timeout' && (await this.#cpu.isBusy(id));
    const silence = afterProbe(this.#silences.get(id) ?? null, outcome, { now: Date.now(), busy });
    if (!silence) {
      this.#silences.delete(id);
      // Beside the rounds: it may take longer than one.
      void this.#infer(record, info, signal).catch((error: unknown) => {
        if (!signal.aborted)
          this.#deps.log.warn({ reason: errorMessage(error) }, 'an inference could not be tried');
      });
      return;
    }
    this.#silences.set(id, silence);
    if (!isLost(silence, Date.now(), this.#roundMs)) return;
    await this.#tell(record, async () => {
      const secrets = info ? secretsOf(info) : [];
      const failure = stoppedAnswering(record.plan, silence.outcome, Date.now() - silence.since);
      return withLog(
        { ...failure, message: redact(failure.message, secrets) },
        await readLog(docker, id, secrets),
      );
    });
  }

  /**
   * Whether a replica that calls itself healthy can still do its work. One that is too busy to answer can: an overload
   * must not be made worse by ending what still works.
   */
  async #infer(
    record: ReplicaRecord,
    info: Docker.ContainerInspectInfo | null,
    signal: AbortSignal,
  ): Promise<void> {
    const { inference, engine } = record.plan.readiness;
    const id = record.containerId;
    if (!inference || !info) return;
    const every = INFER_EVERY_ROUNDS * this.#roundMs;
    const known = this.#inferences.get(id);
    // It has just come into service by an inference.
    if (!known) this.#inferences.set(id, { nextAt: Date.now() + every, silence: null });
    if (!known || Date.now() < known.nextAt) return;
    const timeoutMs = Math.min(inference.timeoutMs, INFER_TIMEOUT_ROUNDS * this.#roundMs);
    known.nextAt = Number.POSITIVE_INFINITY;
    const outcome = await ask(record.address, { ...inference, timeoutMs }, engineKeyOf(info, engine), signal);
    const failed = isFault(outcome) && !(mayBeBusy(outcome) && (await this.#cpu.isBusy(id)));
    const silence = failed ? afterProbe(known.silence, outcome, { now: Date.now(), busy: false }) : null;
    this.#inferences.set(id, { nextAt: Date.now() + (silence ? 0 : every), silence });
    if (!silence || !isLost(silence, Date.now(), this.#roundMs)) return;
    await this.#tell(record, async () => {
      const secrets = secretsOf(info);
      const log = await readLog(this.#deps.docker, id, secrets);
      const silentMs = Date.now() - silence.since;
      const failure = stoppedInferring(record.plan, inference.path, silence.outcome, silentMs, log);
      return withLog({ ...failure, message: redact(failure.message, secrets) }, log);
    });
  }

  async #tell(record: ReplicaRecord, describe: () => Promise<Failure>): Promise<void> {
    const { records, docker, log } = this.#deps;
    const { replicaId, workflowId } = record.plan;
    const id = record.containerId;
    if (this.#told.has(id)) return;
    // Stopped on purpose, or started anew, while it was looked at.
    if ((await records.read(replicaId))?.containerId !== id) return;
    const failure = await describe();
    this.#deps.onLoss?.(record.plan, failure);
    try {
      const heard = await this.#deps.signal(workflowId, failure);
      this.#told.add(id);
      log.warn({ replicaId, code: failure.code, reason: failure.message, heard }, 'replica lost');
      if (heard === 'gone') {
        // Nobody is left to stop it.
        await records.remove(replicaId);
        await removeContainer(docker, id);
      }
    } catch (error) {
      // The next look tries again.
      this.#unheard = true;
      log.warn(
        { replicaId, workflowId, reason: errorMessage(error) },
        'its workflow could not be told of a loss',
      );
    }
  }

  #forget(recorded: readonly ReplicaRecord[]): void {
    const known = new Set(recorded.map((record) => record.containerId));
    for (const id of this.#told) if (!known.has(id)) this.#told.delete(id);
    for (const id of this.#silences.keys()) if (!known.has(id)) this.#silences.delete(id);
    for (const id of this.#inferences.keys()) if (!known.has(id)) this.#inferences.delete(id);
    this.#cpu.keep(known);
  }
}
