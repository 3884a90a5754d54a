import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ReplicaPlan } from '../../spec/lifecycle.ts';
import type { Standby } from '../../spec/states.ts';

/** What this host was told to run, without its secrets. */
export interface ReplicaRecord {
  plan: Omit<ReplicaPlan, 'sealed'>;
  containerId: string;
  /** Where it answers. */
  address: string;
  /** ISO time of its first answered inference; null before. Only a ready replica is watched. */
  readyAt: string | null;
  /** How the container is kept while its endpoint is at zero; then it is not ready. */
  standby?: Standby | null;
}

/**
 * The replicas that should run on this host, one file each below `<agent dir>/replicas`. A restarted agent knows by
 * them what to look for, with Temporal and the control plane away.
 */
export class ReplicaRecords {
  readonly #dir: string;

  constructor(agentDir: string) {
    this.#dir = join(agentDir, 'replicas');
  }

  /** Replaces the file as a whole, so that a kill leaves the old or the new one. */
  async write(record: ReplicaRecord): Promise<void> {
    await mkdir(this.#dir, { recursive: true });
    const file = this.#file(record.plan.replicaId);
    const temporary = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}.tmp`;
    await writeFile(temporary, JSON.stringify(record), { mode: 0o600 });
    await rename(temporary, file);
  }

  async read(replicaId: string): Promise<ReplicaRecord | null> {
    try {
      return JSON.parse(await readFile(this.#file(replicaId), 'utf8')) as ReplicaRecord;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  async all(): Promise<ReplicaRecord[]> {
    const names = await readdir(this.#dir).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    const ids = names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length));
    const records = await Promise.all(ids.map((id) => this.read(id)));
    return records.filter((record) => record !== null);
  }

  /** From here on the watch looks after it; does nothing when it was stopped or started anew meanwhile. */
  async markReady(replicaId: string, containerId: string): Promise<void> {
    const record = await this.read(replicaId);
    if (record?.containerId !== containerId) return;
    await this.write({ ...record, readyAt: record.readyAt ?? new Date().toISOString() });
  }

  async remove(replicaId: string): Promise<void> {
    await rm(this.#file(replicaId), { force: true });
  }

  #file(replicaId: string): string {
    if (!/^[\w-]+$/.test(replicaId)) throw new Error(`not a replica id: '${replicaId}'`);
    return join(this.#dir, `${replicaId}.json`);
  }
}
