import { statfs } from 'node:fs/promises';
import type Docker from 'dockerode';
import type { HostInventory } from '../../spec/lifecycle.ts';
import type { AgentConfig } from './config.ts';
import type { GpuReport } from './nvidia-smi.ts';

/** What this host has, as Docker counts it (which may run in a machine of its own), and what it may give away. */
export async function takeInventory(
  docker: Docker,
  config: AgentConfig,
  { gpus, driver }: Pick<GpuReport, 'gpus' | 'driver'>,
): Promise<HostInventory> {
  const info = (await docker.info()) as DockerInfo;
  const disk = await statfs(config.dir);
  return {
    cpus: Math.min(info.NCPU, config.maxCpus ?? Number.POSITIVE_INFINITY),
    memoryBytes: Math.min(info.MemTotal, config.maxMemoryBytes ?? Number.POSITIVE_INFINITY),
    diskFreeBytes: disk.bavail * disk.bsize,
    gpus,
    gpuDriver: driver,
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
