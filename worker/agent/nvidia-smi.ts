import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { GpuDriver } from '../../spec/driver.ts';
import { errorMessage } from '../../spec/errors.ts';
import type { HostGpu } from '../../spec/lifecycle.ts';

const MIB = 1024 ** 2;
const TIMEOUT_MS = 10_000;
/** The name last: it is the only one that could hold a comma. */
const FIELDS = ['index', 'uuid', 'memory.total', 'driver_version', 'mig.mode.current', 'name'];
/** Drivers before R450 know no MIG and refuse the whole question. */
const OLD_FIELDS = FIELDS.filter((field) => field !== 'mig.mode.current');

export interface GpuReport {
  gpus: HostGpu[];
  driver: GpuDriver | null;
  /** Why there are none although the driver's program is there; null when all is well or it is not. */
  problem: string | null;
}

/** What the NVIDIA driver says of this host, through its program on PATH. */
export class NvidiaSmi {
  /** Asked once per driver version: the long report wakes every GPU. */
  #cuda: { version: string; cuda: string | null } | null = null;

  async look(): Promise<GpuReport> {
    const listed = await this.#list();
    if (listed.csv === null) return { gpus: [], driver: null, problem: listed.problem };
    const { gpus, version } = parseGpus(listed.csv, listed.fields);
    if (version === null) return { gpus, driver: null, problem: null };
    if (this.#cuda?.version !== version) {
      const { stdout } = await ask([]).catch(() => ({ stdout: '' }));
      this.#cuda = { version, cuda: cudaVersion(stdout) };
    }
    return { gpus, driver: { version, cuda: this.#cuda.cuda }, problem: null };
  }

  /** How busy each GPU was in the last moment, in percent by index; one cut into slices does not say. Empty where there are none. */
  async utilization(): Promise<ReadonlyMap<number, number>> {
    const args = ['--query-gpu=index,utilization.gpu', '--format=csv,noheader,nounits'];
    const { stdout } = await ask(args).catch((error: { stdout?: string }) => ({
      stdout: error.stdout ?? '',
    }));
    const pairs = [...stdout.matchAll(/^\s*(\d+)\s*,\s*(\d+)\s*$/gm)];
    return new Map(pairs.map(([, index, percent]) => [Number(index), Number(percent)]));
  }

  async #list(): Promise<{ csv: string; fields: string[] } | { csv: null; problem: string | null }> {
    for (const fields of [FIELDS, OLD_FIELDS]) {
      try {
        const { stdout } = await ask([`--query-gpu=${fields.join(',')}`, '--format=csv,noheader,nounits']);
        return { csv: stdout, fields };
      } catch (error) {
        const { code, stdout = '' } = error as NodeJS.ErrnoException & { stdout?: string };
        if (code === 'ENOENT') return { csv: null, problem: null };
        if (/not a valid field/i.test(stdout) && fields === FIELDS) continue;
        // One GPU that has fallen off the bus makes it fail after it has told of the others.
        if (parseGpus(stdout, fields).gpus.length > 0) return { csv: stdout, fields };
        return { csv: null, problem: stdout.trim() || errorMessage(error) };
      }
    }
    return { csv: null, problem: 'nvidia-smi knows none of the fields it is asked for' };
  }
}

function ask(args: string[]): Promise<{ stdout: string }> {
  return promisify(execFile)('nvidia-smi', args, { timeout: TIMEOUT_MS });
}

/** Lines in the order of `fields`; a line that is no GPU, or one whose memory the driver does not tell, is left out. */
export function parseGpus(
  csv: string,
  fields: readonly string[] = FIELDS,
): { gpus: HostGpu[]; version: string | null } {
  const rows = csv.split('\n').flatMap((line) => {
    const values = line.split(',').map((value) => value.trim());
    if (values.length < fields.length) return [];
    const named = [...values.slice(0, fields.length - 1), values.slice(fields.length - 1).join(', ')];
    const row = Object.fromEntries(fields.map((field, at) => [field, named[at] ?? '']));
    return /^\d+$/.test(row.index ?? '') && /^\d+$/.test(row['memory.total'] ?? '') ? [row] : [];
  });
  const gpus = rows.map((row): HostGpu => {
    const mig = row['mig.mode.current'] === 'Enabled';
    return {
      index: Number(row.index),
      model: row.name ?? '',
      memoryBytes: Number(row['memory.total']) * MIB,
      ...(row.uuid?.startsWith('GPU-') ? { uuid: row.uuid } : {}),
      ...(mig ? { mig } : {}),
    };
  });
  const version = rows.map((row) => row.driver_version).find((value) => /^\d+\.\d/.test(value ?? ''));
  return { gpus: gpus.filter(({ model }) => model !== ''), version: version ?? null };
}

/** From the head of the program's plain report. */
export function cudaVersion(report: string): string | null {
  return /CUDA Version\s*:\s*(\d+\.\d+)/i.exec(report)?.[1] ?? null;
}
