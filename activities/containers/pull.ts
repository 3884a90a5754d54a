import type Docker from 'dockerode';
import { EndpointsError, type ErrorCode } from '../../spec/errors.ts';
import type { SealedSecrets } from '../../spec/lifecycle.ts';
import { dockerError, engineSentence, jsonLines } from './docker.ts';

export interface PullProgress {
  doneBytes: number;
  totalBytes: number;
}

/**
 * Pulls an image unless the engine has it. A tag that was pulled once is not asked for again, so that a start neither
 * needs the registry nor changes what a revision runs.
 * @throws EndpointsError IMAGE_NOT_FOUND, IMAGE_PULL_FAILED, DISK_FULL, DOCKER_UNAVAILABLE
 */
export async function ensureImage(
  docker: Docker,
  image: string,
  registry: SealedSecrets['registry'],
  onProgress: (progress: PullProgress) => void,
  signal?: AbortSignal,
): Promise<{ pulled: boolean }> {
  if (await hasImage(docker, image)) return { pulled: false };
  try {
    const stream = await docker.pull(image, {
      ...(registry ? { authconfig: { ...registry, serveraddress: registryOf(image) } } : {}),
      ...(signal ? { abortSignal: signal } : {}),
    });
    const layers = new Map<string, PullProgress>();
    for await (const line of jsonLines(stream)) {
      const event = line as PullEvent;
      if (event.error) throw new Error(event.error);
      if (countBytes(layers, event)) onProgress(sum(layers));
    }
    signal?.throwIfAborted();
  } catch (error) {
    signal?.throwIfAborted();
    throw pullError(error, image, registry !== null);
  }
  return { pulled: true };
}

/** What the text of a replica says during a pull. */
export function pullMessage({ doneBytes, totalBytes }: PullProgress): string {
  const mb = (bytes: number) => Math.round(bytes / 1e6);
  return `pulling image: ${mb(doneBytes)} of ${mb(totalBytes)} MB`;
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

interface PullEvent {
  id?: string;
  status?: string;
  error?: string;
  progressDetail?: { current?: number; total?: number };
}

/** Unpacking counts anew from zero, so only the download is summed. */
function countBytes(layers: Map<string, PullProgress>, event: PullEvent): boolean {
  if (!event.id) return false;
  const { current, total } = event.progressDetail ?? {};
  if (event.status === 'Downloading' && current !== undefined && total !== undefined && total > 0) {
    layers.set(event.id, { doneBytes: current, totalBytes: total });
    return true;
  }
  const layer = layers.get(event.id);
  if (event.status !== 'Download complete' || !layer) return false;
  layer.doneBytes = layer.totalBytes;
  return true;
}

function sum(layers: ReadonlyMap<string, PullProgress>): PullProgress {
  const total = { doneBytes: 0, totalBytes: 0 };
  for (const layer of layers.values()) {
    total.doneBytes += layer.doneBytes;
    total.totalBytes += layer.totalBytes;
  }
  return total;
}

/** The part before the first slash names a registry only when it looks like a host (Docker's rule). */
export function registryOf(image: string): string {
  const [first = '', ...rest] = image.split('/');
  const isHost = rest.length > 0 && (first.includes('.') || first.includes(':') || first === 'localhost');
  return isHost ? first : 'https://index.docker.io/v1/';
}

function pullError(error: unknown, image: string, withCredentials: boolean): Error {
  const said = engineSentence(error);
  const refused = (code: ErrorCode, what: string) =>
    new EndpointsError(code, `image ${image}: ${what} Docker said: ${said}`);
  if (/no space left on device|disk quota exceeded/i.test(said))
    return refused('DISK_FULL', "the host's disk is full; remove unused images or add space.");
  if (/invalid reference format|invalid repository name|must be lowercase/i.test(said))
    return refused('IMAGE_NOT_FOUND', 'this is not an image reference; write registry/name:tag.');
  if (/no matching manifest|does not match the specified platform/i.test(said))
    return refused('IMAGE_NOT_FOUND', "it exists, but not for the host's processor; choose another image.");
  if (/unauthorized|authentication required|access denied|denied|no basic auth credentials/i.test(said))
    return refused(
      'IMAGE_NOT_FOUND',
      withCredentials
        ? 'it does not exist, or the given registry credentials may not pull it.'
        : 'it does not exist or is private; check the name, and give credentials if it is private.',
    );
  if (/manifest unknown|not found|does not exist|no such image/i.test(said))
    return refused('IMAGE_NOT_FOUND', 'the registry has no such image; check name and tag.');
  const away = dockerError(error, `pulling image ${image}`);
  if (away instanceof EndpointsError && away.code === 'DOCKER_UNAVAILABLE') return away;
  return refused('IMAGE_PULL_FAILED', 'it could not be pulled; check that the host reaches the registry.');
}
