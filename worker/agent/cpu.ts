import type Docker from 'dockerode';

/** Share of one core above which a container counts as computing; an idle server uses less than a hundredth. */
const BUSY_SHARE = 0.1;

interface Sample {
  usedNs: number;
  atMs: number;
}

/** Tells whether containers have been computing since they were last asked about. */
export class CpuMeter {
  readonly #docker: Docker;
  readonly #samples = new Map<string, Sample>();

  constructor(docker: Docker) {
    this.#docker = docker;
  }

  /** False the first time, and when Docker does not say. */
  async isBusy(id: string): Promise<boolean> {
    const before = this.#samples.get(id);
    const now = await this.#sample(id);
    if (!now) return false;
    this.#samples.set(id, now);
    if (!before || now.atMs <= before.atMs) return false;
    return now.usedNs - before.usedNs > BUSY_SHARE * (now.atMs - before.atMs) * 1e6;
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
