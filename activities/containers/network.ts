import type Docker from 'dockerode';
import { LABELS } from '../../spec/names.ts';
import { dockerError, statusOf } from './docker.ts';

/**
 * The id of the network our containers are on, made when it is missing. A bridge of our own without traffic between
 * containers: one engine must not reach another one's unauthenticated routes.
 */
export async function ensureNetwork(docker: Docker, installation: string): Promise<string> {
  const name = `endpoints-${installation}`;
  try {
    const found = await findNetwork(docker, name);
    if (found) return found;
    await docker.createNetwork({
      Name: name,
      CheckDuplicate: true,
      Driver: 'bridge',
      Options: { 'com.docker.network.bridge.enable_icc': 'false' },
      Labels: { [LABELS.installation]: installation },
    });
  } catch (error) {
    // 409: someone else made it in between.
    if (statusOf(error) !== 409) throw dockerError(error, `making network ${name}`);
  }
  const made = await findNetwork(docker, name);
  if (!made) throw dockerError(new Error('it is not there after it was made'), `making network ${name}`);
  return made;
}

/** The engine matches names by part, and its check for duplicates lets some through: the oldest one counts. */
async function findNetwork(docker: Docker, name: string): Promise<string | null> {
  const networks = await docker.listNetworks({ filters: { name: [name] } });
  const [oldest] = networks
    .filter((network) => network.Name === name)
    .sort((a, b) => Date.parse(a.Created) - Date.parse(b.Created) || a.Id.localeCompare(b.Id));
  return oldest?.Id ?? null;
}
