import { CancellationScope, isCancellation, log, patched } from '@temporalio/workflow';
import type { BakeSettings, Desired, ReplicaView } from '../spec/lifecycle.ts';
import { replicaId } from '../spec/names.ts';
import { failureOf } from './causes.ts';
import { control, onHost } from './options.ts';
import type { Verdict } from './policy/rollout.ts';

/** Watches a new revision from its first ready replica on, one at a time, until there is a verdict or it is called off. */
export class Trial {
  readonly #onVerdict: () => void;
  #scope: CancellationScope | null = null;
  #revision: number | null = null;
  #verdict: Verdict | null = null;

  constructor(onVerdict: () => void) {
    this.#onVerdict = onVerdict;
  }

  /** While one is on its way, the endpoint must not roll over. */
  get running(): boolean {
    return this.#scope !== null;
  }

  /** A verdict that came since it was last asked for. */
  take(): Verdict | null {
    const verdict = this.#verdict;
    this.#verdict = null;
    return verdict;
  }

  /** Goes on with the trial of the wanted revision, or begins it when one of its replicas serves; `wanted` false ends it. */
  follow(desired: Desired, replicas: readonly ReplicaView[], wanted: boolean): void {
    const { revision, bake } = desired;
    const first = replicas.find((r) => r.revision === revision && r.stage === 'running' && !r.stopping);
    if (!wanted || !bake || !first || (this.#scope && this.#revision !== revision)) this.end();
    if (!wanted || !bake || !first || this.#scope || !patched('bake')) return;
    const scope = new CancellationScope();
    this.#scope = scope;
    this.#revision = revision;
    void this.#run(scope, desired, bake, first);
  }

  end(): void {
    this.#scope?.cancel();
    this.#scope = null;
  }

  async #run(scope: CancellationScope, desired: Desired, bake: BakeSettings, first: ReplicaView) {
    const { endpointId, revision } = desired;
    try {
      const failure = await scope.run(async () => {
        const found = await control.watchBake.executeWithOptions(
          { summary: `how revision ${revision} answers, for ${bake.seconds} s` },
          [{ endpointId, revision, bake, sinceMs: first.readyAt ?? Date.now() }],
        );
        const tail = found && (await this.#tail(endpointId, first));
        return found && tail ? { ...found, logTail: tail } : found;
      });
      if (this.#scope !== scope) return;
      this.#verdict = { revision, failure };
    } catch (error) {
      if (this.#scope !== scope || isCancellation(error)) return;
      // Nobody can say that it is bad.
      log.warn('a new revision could not be watched', { revision, cause: failureOf(error).message });
      this.#verdict = { revision, failure: null };
    }
    this.#scope = null;
    this.#onVerdict();
  }

  /** What its engine logged; the verdict counts without it too. */
  async #tail(endpointId: string, { hostId, number }: ReplicaView): Promise<string | null> {
    if (!hostId) return null;
    const { log: logs } = onHost(hostId);
    return await logs.tailLog
      .executeWithOptions({ summary: 'what its engine logged' }, [
        { replicaId: replicaId(endpointId, number) },
      ])
      .catch((error: unknown) => {
        if (isCancellation(error)) throw error;
        return null;
      });
  }
}
