import type Docker from 'dockerode';
import type { ReplicaRecords } from '../../activities/containers/records.ts';
import { CpuMeter } from './cpu.ts';

export interface ReplicaUsage {
  replicaId: string;
  /** Share of the CPUs the replica was given, in percent. */
  cpuPercent: number;
}

/**
 * Looks at how much of its CPUs every ready replica of this host uses; the autoscaler goes by it where an endpoint scales
 * by hardware usage. A replica on GPUs is left out: its CPUs say nothing about its load.
 */
export class UsageMeter {
  readonly #records: ReplicaRecords;
  readonly #cpu: CpuMeter;

  constructor(docker: Docker, records: ReplicaRecords) {
    this.#records = records;
    this.#cpu = new CpuMeter(docker);
  }

  /** Averages since the last look; a replica seen for the first time is not in it yet. */
  async look(): Promise<ReplicaUsage[]> {
    const ready = (await this.#records.all()).filter((r) => r.readyAt && r.plan.container.gpus.length === 0);
    this.#cpu.keep(new Set(ready.map((r) => r.containerId)));
    const used = await Promise.all(
      ready.map(async ({ containerId, plan }) => {
        const cores = await this.#cpu.cores(containerId);
        return cores === null
          ? []
          : [{ replicaId: plan.replicaId, cpuPercent: (100 * cores) / plan.container.cpus }];
      }),
    );
    return used.flat();
  }
}
