import type Docker from 'dockerode';

/** Share of one core above which a container counts as computing; an idle server uses less than a hundredth. */
const BUSY_SHARE = 0.1;

interface Sample {
  usedNs: number;
  atMs: number;
}

/** How much containers have computed since they were last asked about. */
export class CpuMeter {
  readonly #docker: Docker;
  readonly #samples = new Map<string, Sample>();

  constructor(docker: Docker) {
    this.#docker = docker;
  }

  /** Cores in use on average since the last question; null the first time, and when Docker does not say. */
  async cores(id: string): Promise<number | null> {
    const before = this.#samples.get(id);
    const now = await this.#sample(id);
    if (!now) return null;
    this.#samples.set(id, now);
    if (!before || now.atMs <= before.atMs) return null;
    return (now.usedNs - before.usedNs) / ((now.atMs - before.atMs) * 1e6);
  }

  /** False the first time, and when Docker does not say. */
  async isBusy(id: string): Promise<boolean> {
    return ((await this.cores(id)) ?? 0) > BUSY_SHARE;
  }

  /** Forgets all other containers. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#samples.keys()) if (!ids.has(id)) this.#samples.delete(id);
  }

  async #sample(id: string): Promise<Sample | null> {
    try {
      const stats = await this.#docker.getContainer(id).stats({ stream: false, 'one-shot': true });
      return { usedNs: stats.cpu_stats.cpu_usage.total_usage, atMs: Date.now() };
    } catch {
      return null;
    }
  }
}
