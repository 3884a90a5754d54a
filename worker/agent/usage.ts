import type Docker from 'dockerode';
import type { ReplicaRecord, ReplicaRecords } from '../../activities/containers/records.ts';
import { CpuMeter } from './cpu.ts';
import type { NvidiaSmi } from './nvidia-smi.ts';

/** In percent; the one is null where the other counts. */
export interface ReplicaUsage {
  replicaId: string;
  /** Share of the CPUs the replica was given. */
  cpuPercent: number | null;
  /** Share of the last moment in which its GPUs computed, averaged over them. */
  gpuPercent: number | null;
}

/**
 * Looks at how busy every ready replica of this host is; the autoscaler goes by it where an endpoint scales by hardware
 * usage. The CPUs of a replica on GPUs say nothing about its load: of such a one the GPUs are looked at.
 */
export class UsageMeter {
  readonly #records: Pick<ReplicaRecords, 'all'>;
  readonly #cpu: CpuMeter;
  readonly #nvidia: Pick<NvidiaSmi, 'utilization'>;

  constructor(docker: Docker, records: Pick<ReplicaRecords, 'all'>, nvidia: Pick<NvidiaSmi, 'utilization'>) {
    this.#records = records;
    this.#cpu = new CpuMeter(docker);
    this.#nvidia = nvidia;
  }

  /** CPU is an average since the last look, so a replica seen for the first time is not in it yet. */
  async look(): Promise<ReplicaUsage[]> {
    const ready = (await this.#records.all()).filter((record) => record.readyAt);
    const onGpus = ready.filter(({ plan }) => plan.container.gpus.length > 0);
    const onCpus = ready.filter(({ plan }) => plan.container.gpus.length === 0);
    const [gpu, cpu] = await Promise.all([this.#gpuUsage(onGpus), this.#cpuUsage(onCpus)]);
    return [...cpu, ...gpu];
  }

  async #cpuUsage(records: readonly ReplicaRecord[]): Promise<ReplicaUsage[]> {
    this.#cpu.keep(new Set(records.map((r) => r.containerId)));
    const used = await Promise.all(
      records.map(async ({ containerId, plan: { replicaId, container } }): Promise<ReplicaUsage[]> => {
        const cores = await this.#cpu.cores(containerId);
        return cores === null
          ? []
          : [{ replicaId, cpuPercent: (100 * cores) / container.cpus, gpuPercent: null }];
      }),
    );
    return used.flat();
  }

  async #gpuUsage(records: readonly ReplicaRecord[]): Promise<ReplicaUsage[]> {
    if (records.length === 0) return [];
    const byIndex = await this.#nvidia.utilization();
    return records.flatMap(({ plan: { replicaId, container } }) => {
      const said = container.gpus.flatMap((index) => byIndex.get(index) ?? []);
      if (said.length === 0) return [];
      const gpuPercent = said.reduce((sum, percent) => sum + percent, 0) / said.length;
      return [{ replicaId, cpuPercent: null, gpuPercent }];
    });
  }
}
