import type Docker from 'dockerode';
import { EndpointsError } from '../../spec/errors.ts';
import type { SealedSecrets } from '../../spec/lifecycle.ts';
import { jsonLines } from './docker.ts';
import { exactImage, isLocalId, pullable } from './exact.ts';
import type { ImageFacts } from './manifest.ts';
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
  /** Called before anything is pulled, with the reference that will be. May refuse by throwing. */
  prepare?: (wanted: string) => Promise<ImageFacts | null>;
}

/**
 * Makes sure that the engine has an image: the one that is `pinned`, if any, else what the reference means. A tag that was
 * pulled once is not asked for again, so that a start needs no registry.
 * @returns the exact image that is there
 * @throws EndpointsError IMAGE_NOT_FOUND, IMAGE_AUTH, IMAGE_PULL_FAILED, DISK_FULL, DOCKER_UNAVAILABLE, and what
 *   `prepare` refuses
 */
export async function ensureImage(
  docker: Docker,
  reference: string,
  { pinned = null, ...options }: PullOptions & { pinned?: string | null },
): Promise<{ pulled: boolean; image: string }> {
  const present = pinned && (await exactImage(docker, pinned));
  if (present) return { pulled: false, image: present };
  // A local image that this host lacks can be had nowhere: what the reference means here is next to it.
  const wanted = pullable(pinned && !isLocalId(pinned) ? pinned : reference);
  const own = await exactImage(docker, wanted);
  if (own) return { pulled: false, image: own };
  const facts = await options.prepare?.(wanted);
  await pull(docker, wanted, options, facts?.layers);
  return { pulled: true, image: (await exactImage(docker, wanted)) ?? wanted };
}

async function pull(
  docker: Docker,
  image: string,
  options: PullOptions,
  sizes: ReadonlyMap<string, number> | undefined,
): Promise<void> {
  const { registry, onProgress, signal, patience = PATIENCE } = options;
  const cut = new SilenceCut(patience, signal);
  try {
    const stream = await docker.pull(image, {
      ...(registry ? { authconfig: { ...registry, serveraddress: registryOf(image) } } : {}),
      abortSignal: cut.signal,
    });
    const layers = new LayerCount(sizes);
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
}

function silent(image: string, ms: number): EndpointsError {
  return new EndpointsError(
    'IMAGE_PULL_FAILED',
    `image ${image}: nothing came for ${ms / 1000} s; check that the host reaches ${registryOf(image)}.`,
  );
}
