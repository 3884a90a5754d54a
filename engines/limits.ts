import type { Instance } from '../spec/hardware.ts';

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
