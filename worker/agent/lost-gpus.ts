import type { Failure } from '../../spec/errors.ts';
import type { HostGpu, ReplicaPlan } from '../../spec/lifecycle.ts';

/**
 * GPUs on which an engine ended because the card failed. They are offered to nobody until the agent starts again, as it does
 * after the reset or the restart of the host that such a card needs.
 */
export class LostGpus {
  readonly #lost = new Set<number>();

  /** Takes a replica's end in; true when it says something new about this host's GPUs. */
  note({ container }: Pick<ReplicaPlan, 'container'>, failure: Pick<Failure, 'code'>): boolean {
    if (failure.code !== 'GPU_LOST') return false;
    const before = this.#lost.size;
    // Which of several it was the log does not say in the engine's own numbers: none of them is trusted.
    for (const index of container.gpus) this.#lost.add(index);
    return this.#lost.size > before;
  }

  /** Those that may be given to replicas. */
  offered(gpus: readonly HostGpu[]): HostGpu[] {
    return gpus.filter(({ index }) => !this.#lost.has(index));
  }
}
