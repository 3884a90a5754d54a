import { dockerClient } from '../../cli/services/docker.ts';
import type { PrivateDocker } from '../../cli/services/private-docker.ts';
import { LABELS } from '../../spec/names.ts';
import type { Installation } from '../support/installation.ts';

/** Those of the installation that are killed. */
export const PROCESSES = ['worker', 'agent', 'api', 'gateway', 'temporal', 'postgres'];
/** What is killed. `dockerd, kept`: the engine starts again with `live-restore`. */
export const VICTIMS = [...PROCESSES, 'dockerd', 'dockerd, kept'];
/** DESIGN §10: after the death of any process at any step. */
export const CONVERGES_MS = 60_000;

/** Containers of an installation, running or not. Asked of the engine itself: it is asked often. */
export function containersOf(engine: PrivateDocker, { installationId }: Installation) {
  const label = [`${LABELS.installation}=${installationId}`];
  return dockerClient(engine.host).listContainers({ all: true, filters: { label } });
}

/** Those that run now, each as its id and when it was started. */
export async function running(engine: PrivateDocker, installation: Installation): Promise<string[]> {
  const docker = dockerClient(engine.host);
  const found = await containersOf(engine, installation);
  const details = await Promise.all(found.map(({ Id }) => docker.getContainer(Id).inspect()));
  return details.filter(({ State }) => State.Running).map(({ Id, State }) => `${Id} ${State.StartedAt}`);
}

/** Kills it; answers the containers that must still be there in the end, untouched. */
export async function kill(
  victim: string,
  { engine, installation }: { engine: PrivateDocker; installation: Installation },
): Promise<string[]> {
  if (PROCESSES.includes(victim)) {
    installation.kill(victim);
    return [];
  }
  const before = await running(engine, installation);
  if (victim === 'dockerd, kept') {
    await engine.crash({ liveRestore: true });
    return before;
  }
  await engine.crash();
  const survivors = (await running(engine, installation)).filter((container) => before.includes(container));
  if (survivors.length > 0) throw new Error(`the engine's next start left running: ${survivors}`);
  return [];
}
