import { execFile } from 'node:child_process';
import { statfs } from 'node:fs/promises';
import { promisify } from 'node:util';
import type Docker from 'dockerode';
import type { HostInventory } from '../../spec/lifecycle.ts';
import type { AgentConfig } from './config.ts';

const MIB = 1024 ** 2;
const NVIDIA_SMI_TIMEOUT_MS = 10_000;

/** What this host has, as Docker counts it (which may run in a machine of its own), and what it may give away. */
export async function takeInventory(docker: Docker, config: AgentConfig): Promise<HostInventory> {
  const info = (await docker.info()) as DockerInfo;
  const disk = await statfs(config.dir);
  return {
    cpus: Math.min(info.NCPU, config.maxCpus ?? Number.POSITIVE_INFINITY),
    memoryBytes: Math.min(info.MemTotal, config.maxMemoryBytes ?? Number.POSITIVE_INFINITY),
    diskFreeBytes: disk.bavail * disk.bsize,
    gpus: parseGpus(await nvidiaSmi()),
    dockerVersion: info.ServerVersion,
    os: info.OperatingSystem,
  };
}

/** The part of `GET /info` that is used here. */
interface DockerInfo {
  NCPU: number;
  MemTotal: number;
  ServerVersion: string;
  OperatingSystem: string;
}

async function nvidiaSmi(): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(
      'nvidia-smi',
      ['--query-gpu=index,name,memory.total', '--format=csv,noheader,nounits'],
      { timeout: NVIDIA_SMI_TIMEOUT_MS },
    );
    return stdout;
  } catch {
    // No driver, or none that works: there is no GPU to give away.
    return '';
  }
}

/** Lines of `index, name, memory in MiB`; a card whose memory the driver does not tell is left out. */
export function parseGpus(csv: string): HostInventory['gpus'] {
  return csv
    .split('\n')
    .map((line) => line.split(',').map((field) => field.trim()))
    .filter(([index, model, memory]) => /^\d+$/.test(index ?? '') && model && /^\d+$/.test(memory ?? ''))
    .map(([index, model, memory]) => ({
      index: Number(index),
      model: model ?? '',
      memoryBytes: Number(memory) * MIB,
    }));
}
