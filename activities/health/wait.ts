import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { causeIn, complaintIn } from '../../engines/failures.ts';
import { EndpointsError, type Failure } from '../../spec/errors.ts';
import type { HttpProbe, ReplicaPlan } from '../../spec/lifecycle.ts';
import { addressOf, engineKeyOf, secretsOf } from '../containers/create.ts';
import { inspectContainer } from '../containers/docker.ts';
import { exitFailure, finalFailure, withLog } from '../containers/end.ts';
import { readLog } from '../containers/logs.ts';
import { redact } from '../containers/redact.ts';
import { brokeDown, inferenceFailed, notHealthy } from './diagnosis.ts';
import { ask, listens, type ProbeOutcome } from './probe.ts';

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 1000;
/** The pause grows with the time waited, so that asking adds at most a twentieth to it. */
const PAUSE_SHARE = 1 / 20;
/** Looking at the container costs Docker more than a question to a port. */
const LOOK_EVERY_MS = 200;
/** A container with nothing to ask is taken as ready after this long, listening or not. */
const ACCEPT_BOUND_MS = 10_000;
const ACCEPT_HOLD_MS = 100;

export interface Waited {
  docker: Docker;
  plan: Omit<ReplicaPlan, 'sealed'>;
  signal: AbortSignal;
  /** Called when the health route has answered and the first inference is on its way. */
  onHealthy(): void;
}

/**
 * Returns once the container has answered its health route and a real inference, where it has them.
 * @throws ApplicationFailure with the classified end when it exits, NOT_HEALTHY at the deadline, INFERENCE_FAILED
 */
export async function untilReady(waited: Waited): Promise<{ containerId: string; address: string }> {
  const { plan } = waited;
  const { health, inference, deadlineMs } = plan.readiness;
  const container = await Container.find(waited);
  const deadline = container.startedAt + deadlineMs;
  if (health) {
    await repeat(container, deadline, () => container.ask(health, deadline), notFinal);
  }
  if (inference) {
    waited.onHealthy();
    const last = await repeat(container, deadline, () => container.ask(inference, deadline), isFinal);
    if (last.kind !== 'ok')
      throw await container.fail(
        (log) => inferenceFailed(plan, inference.path, last, log),
        brokeDown(last)
          ? (log) => Boolean(causeIn(plan.readiness.engine, log) ?? complaintIn(log))
          : undefined,
      );
  }
  if (!health && !inference) await untilListening(container);
  return { containerId: container.id, address: container.address };
}

const notFinal = (): boolean => false;

/** Still loading, or full for a moment: ask again. Any other refusal stays. */
function isFinal(outcome: ProbeOutcome): boolean {
  return outcome.kind === 'timeout' || (outcome.kind === 'status' && ![429, 503].includes(outcome.status));
}

/** Asks until the answer is good or final; the container's end and the deadline are failures. */
async function repeat(
  container: Container,
  deadline: number,
  question: () => Promise<ProbeOutcome>,
  final: (outcome: ProbeOutcome) => boolean,
): Promise<ProbeOutcome> {
  const started = Date.now();
  for (;;) {
    const outcome = await question();
    if (outcome.kind === 'ok' || final(outcome)) return outcome;
    await container.look();
    if (Date.now() >= deadline) throw await container.fail(() => notHealthy(container.plan, outcome));
    const pause = Math.max(FIRST_PAUSE_MS, (Date.now() - started) * PAUSE_SHARE);
    await sleep(Math.min(MAX_PAUSE_MS, pause), undefined, { signal: container.signal });
  }
}

async function untilListening(container: Container): Promise<void> {
  const bound = Date.now() + ACCEPT_BOUND_MS;
  while (!(await listens(container.address, ACCEPT_HOLD_MS, container.signal)) && Date.now() < bound) {
    await container.look();
    await sleep(ACCEPT_HOLD_MS, undefined, { signal: container.signal });
  }
  await container.look({ now: true });
}

/** A process that breaks down answers first and writes its traceback after; then the log has what the answer lacks. */
const LOG_SETTLES_MS = 10_000;
const LOG_PAUSE_MS = 250;

/** The container that is waited for: where it answers, and whether it still runs. */
class Container {
  readonly id: string;
  readonly address: string;
  readonly startedAt: number;
  readonly plan: Waited['plan'];
  readonly signal: AbortSignal;
  readonly #docker: Docker;
  readonly #key: string | null;
  readonly #secrets: string[];
  #lookedAt = 0;

  private constructor(waited: Waited, info: Docker.ContainerInspectInfo, address: string) {
    this.id = info.Id;
    this.address = address;
    this.startedAt = Date.parse(info.State.StartedAt);
    this.plan = waited.plan;
    this.signal = waited.signal;
    this.#docker = waited.docker;
    this.#key = engineKeyOf(info, waited.plan.readiness.engine);
    this.#secrets = secretsOf(info);
  }

  static async find(waited: Waited): Promise<Container> {
    const { docker, plan } = waited;
    const info = await inspectContainer(docker, plan.containerName);
    const address = info && addressOf(info, plan.container.port);
    if (!info?.State.Running || !address)
      throw finalFailure(await exitFailure(docker, info, plan.readiness.engine));
    return new Container(waited, info, address);
  }

  /** @throws ApplicationFailure when the container does not run any more */
  async look({ now = false } = {}): Promise<void> {
    if (!now && Date.now() - this.#lookedAt < LOOK_EVERY_MS) return;
    this.#lookedAt = Date.now();
    try {
      const info = await inspectContainer(this.#docker, this.id);
      if (!info?.State.Running)
        throw finalFailure(await exitFailure(this.#docker, info, this.plan.readiness.engine));
    } catch (error) {
      // The engine's restart may leave the container running; if it does not, the next look shows that.
      if (!(error instanceof EndpointsError && error.code === 'DOCKER_UNAVAILABLE')) throw error;
    }
  }

  /** No question outlives the deadline by more than a second. */
  ask(probe: HttpProbe, deadline: number): Promise<ProbeOutcome> {
    const timeoutMs = Math.min(probe.timeoutMs, Math.max(1000, deadline - Date.now()));
    return ask(this.address, { ...probe, timeoutMs }, this.#key, this.signal);
  }

  /**
   * What to throw: the failure that `describe` reads out of the log, which is waited for until it is `enough`. What the
   * engine said may hold a secret too.
   */
  async fail(describe: (log: string) => Failure, enough: (log: string) => boolean = () => true) {
    const settled = Date.now() + LOG_SETTLES_MS;
    let log = await readLog(this.#docker, this.id, this.#secrets);
    while (!enough(log) && Date.now() < settled) {
      await sleep(LOG_PAUSE_MS, undefined, { signal: this.signal });
      log = await readLog(this.#docker, this.id, this.#secrets);
    }
    const failure = describe(log);
    return finalFailure(withLog({ ...failure, message: redact(failure.message, this.#secrets) }, log));
  }
}
