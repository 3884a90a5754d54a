import type { Instance } from '../spec/hardware.ts';
import type { ContainerDescription } from '../spec/lifecycle.ts';

const GIB = 1024 ** 3;
/** Threads and processes of one container: far above what an engine with many request threads uses. */
const PIDS_LIMIT = 4096;

/** What a container of this instance may use at most. */
export function limitsOf(instance: Instance): { cpus: number; memoryBytes: number; pidsLimit: number } {
  return {
    cpus: instance.cpus,
    memoryBytes: Math.floor(instance.memoryGb * GIB),
    pidsLimit: PIDS_LIMIT,
  };
}

/**
 * Shared memory for processes that pass tensors to each other: Docker's 64 MiB breaks NCCL and data loaders. It counts
 * as memory of the container, hence never more than half of it.
 */
export function sharedMemory(instance: Instance, upToGib: number): number {
  return Math.floor(Math.min(upToGib, instance.memoryGb / 2) * GIB);
}

/** The least that engines of several processes are documented with: TGI's `--shm-size 1g`. */
const LEAST_RAISED_BYTES = GIB;

/** Of a container whose shared memory did not suffice: twice as much, at least 1 GiB, at most all of its memory. */
export function moreSharedMemory(container: ContainerDescription): ContainerDescription {
  const { shmBytes, memoryBytes } = container;
  return { ...container, shmBytes: Math.min(memoryBytes, Math.max(2 * shmBytes, LEAST_RAISED_BYTES)) };
}
