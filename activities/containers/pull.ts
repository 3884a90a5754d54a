import type Docker from 'dockerode';
import { EndpointsError } from '../../spec/errors.ts';
import type { SealedSecrets } from '../../spec/lifecycle.ts';
import { dockerError, jsonLines } from './docker.ts';
import { pullError, registryOf } from './pull-errors.ts';
import { LayerCount, type PullEvent, type PullProgress } from './pull-progress.ts';
import { type Patience, SilenceCut } from './silence.ts';

/**
 * Docker itself waits 15 s for a connection and tries two schemes. Later silence is a stalled transfer: while it unpacks
 * a large layer it goes on telling how far it is.
 */
const PATIENCE: Patience = { first: 40_000, later: 300_000 };

export interface PullOptions {
  registry: SealedSecrets['registry'];
  onProgress?: (progress: PullProgress) => void;
  signal?: AbortSignal;
  patience?: Patience;
}

/**
 * Pulls an image unless the engine has it. A tag that was pulled once is not asked for again, so that a start needs no
 * registry.
 * @throws EndpointsError IMAGE_NOT_FOUND, IMAGE_AUTH, IMAGE_PULL_FAILED, DISK_FULL, DOCKER_UNAVAILABLE
 */
export async function ensureImage(
  docker: Docker,
  image: string,
  options: PullOptions,
): Promise<{ pulled: boolean }> {
  if (await hasImage(docker, image)) return { pulled: false };
  const { registry, onProgress, signal, patience = PATIENCE } = options;
  const cut = new SilenceCut(patience, signal);
  try {
    const stream = await docker.pull(image, {
      ...(registry ? { authconfig: { ...registry, serveraddress: registryOf(image) } } : {}),
      abortSignal: cut.signal,
    });
    const layers = new LayerCount();
    for await (const line of jsonLines(stream)) {
      cut.heard();
      const event = line as PullEvent;
      if (event.error) throw new Error(event.error);
      if (layers.add(event)) onProgress?.(layers.progress);
    }
    cut.signal.throwIfAborted();
  } catch (error) {
    signal?.throwIfAborted();
    if (cut.silentMs !== null) throw silent(image, cut.silentMs);
    throw pullError(error, image, registry !== null);
  } finally {
    cut.stop();
  }
  return { pulled: true };
}

function silent(image: string, ms: number): EndpointsError {
  return new EndpointsError(
    'IMAGE_PULL_FAILED',
    `image ${image}: nothing came for ${ms / 1000} s; check that the host reaches ${registryOf(image)}.`,
  );
}

async function hasImage(docker: Docker, image: string): Promise<boolean> {
  try {
    await docker.getImage(image).inspect();
    return true;
  } catch (error) {
    const away = dockerError(error, `looking for image ${image}`);
    if (away instanceof EndpointsError && away.code === 'DOCKER_UNAVAILABLE') throw away;
    // Absent, or a reference the engine cannot even parse: the pull says that better.
    return false;
  }
}
