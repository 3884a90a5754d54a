import { setTimeout as sleep } from 'node:timers/promises';
import { dataDir } from '../../runtime/config.ts';
import { LABELS } from '../../spec/names.ts';
import { CliError } from '../errors.ts';
import { dockerClient, dockerVersion } from '../services/docker.ts';
import { endLeftovers } from '../up/leftovers.ts';
import { isAlive, type ProcessId } from '../up/process-id.ts';
import { type InstallationState, readState, writeState } from '../up/state.ts';

const STOP_DEADLINE_MS = 20_000;

/**
 * Stops the installation of this data directory whole: its supervisor, what a killed supervisor left, and its engine
 * containers and network. What was stored stays; the next start brings the same endpoints back.
 * @throws CliError
 */
export async function down(): Promise<void> {
  const dir = dataDir();
  const state = readState(dir);
  if (state.supervisor && isAlive(state.supervisor)) {
    console.log(`stopping process ${state.supervisor.pid}`);
    await stopSupervisor(state.supervisor);
  } else {
    const ended = await endLeftovers(state.processes);
    if (ended.length) console.log(`ended ${ended.join(', ')}`);
    if (state.supervisor || state.processes.length)
      writeState(dir, { ...state, supervisor: null, processes: [] });
  }
  const removed = await removeContainers(state);
  console.log(`removed ${removed} engine container${removed === 1 ? '' : 's'}`);
}

async function stopSupervisor(supervisor: ProcessId): Promise<void> {
  process.kill(supervisor.pid, 'SIGTERM');
  const deadline = performance.now() + STOP_DEADLINE_MS;
  while (isAlive(supervisor)) {
    if (performance.now() > deadline) {
      throw new CliError(`process ${supervisor.pid} has not stopped within ${STOP_DEADLINE_MS / 1000} s`);
    }
    await sleep(50);
  }
}

async function removeContainers({ dockerHost, installation }: InstallationState): Promise<number> {
  if (!dockerHost || !installation) return 0;
  if (!(await dockerVersion(dockerHost))) {
    throw new CliError(`no Docker engine answers at ${dockerHost}, so its containers cannot be removed`);
  }
  const docker = dockerClient(dockerHost);
  const containers = await docker.listContainers({
    all: true,
    filters: { label: [`${LABELS.installation}=${installation}`] },
  });
  await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })));
  const networks = await docker.listNetworks({ filters: { name: [`endpoints-${installation}`] } });
  await Promise.all(networks.map(({ Id }) => docker.getNetwork(Id).remove()));
  return containers.length;
}
