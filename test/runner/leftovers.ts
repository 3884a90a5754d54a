import { readdirSync, readFileSync } from 'node:fs';
import { dockerClient } from '../../cli/services/docker.ts';

/** The variable that marks every process a run starts; children inherit it. */
export const RUN_MARK = 'ENDPOINTS_TEST_RUN';

/** Processes of this run that are still there. Linux only; elsewhere none are found. */
export function markedProcesses(run: string): { pid: number; command: string }[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${RUN_MARK}=${run}`))
          return [];
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return [{ pid: Number(pid), command }];
      } catch {
        return []; // ended meanwhile, or another user's
      }
    });
}

/** Containers, networks and volumes on an engine that only this run used. */
export async function dockerLeftovers(host: string): Promise<string[]> {
  const docker = dockerClient(host);
  const [containers, networks, volumes] = await Promise.all([
    docker.listContainers({ all: true }),
    docker.listNetworks(),
    docker.listVolumes(),
  ]);
  return [
    ...containers.map(({ Names, State }) => `container ${Names.join(' ')} (${State})`),
    ...networks.filter(({ Driver }) => Driver === 'bridge').map(({ Name }) => `network ${Name}`),
    ...volumes.Volumes.map(({ Name }) => `volume ${Name}`),
  ];
}
