import type Docker from 'dockerode';
import { LABELS } from '../../spec/names.ts';
import { dockerError, statusOf } from './docker.ts';

/**
 * Gives the id of the network our containers are on, and makes it when it is missing: a bridge of our own without traffic
 * between containers, because one engine must not reach another one's unauthenticated routes.
 */
export class Network {
  readonly #docker: Docker;
  readonly #installation: string;
  #asking: Promise<string> | null = null;

  constructor(docker: Docker, installation: string) {
    this.#docker = docker;
    this.#installation = installation;
  }

  /** Calls that overlap are one: Docker would make a network of the same name for each, and then start nothing on any. */
  id(): Promise<string> {
    if (this.#asking) return this.#asking;
    this.#asking = this.#ensure().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #ensure(): Promise<string> {
    const name = `endpoints-${this.#installation}`;
    try {
      const found = await this.#find(name);
      if (found) return found;
      await this.#docker.createNetwork({
        Name: name,
        CheckDuplicate: true,
        Driver: 'bridge',
        Options: { 'com.docker.network.bridge.enable_icc': 'false' },
        Labels: { [LABELS.installation]: this.#installation },
      });
    } catch (error) {
      // 409: someone else made it in between.
      if (statusOf(error) !== 409) throw dockerError(error, `making network ${name}`);
    }
    const made = await this.#find(name);
    if (!made) throw dockerError(new Error('it is not there after it was made'), `making network ${name}`);
    return made;
  }

  /** Another process may have made one at the same moment: the oldest stays, so that the name is no riddle. */
  async #find(name: string): Promise<string | null> {
    const networks = await this.#docker.listNetworks({ filters: { name: [name] } });
    const [oldest, ...younger] = networks
      // Docker matches names by part.
      .filter((network) => network.Name === name)
      .sort((a, b) => Date.parse(a.Created) - Date.parse(b.Created) || a.Id.localeCompare(b.Id));
    await Promise.all(
      younger.map(({ Id }) =>
        this.#docker
          .getNetwork(Id)
          .remove()
          .catch((error: unknown) => {
            // In use, or gone already.
            if (statusOf(error) === undefined) throw error;
          }),
      ),
    );
    return oldest?.Id ?? null;
  }
}
