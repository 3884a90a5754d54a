import type Docker from 'dockerode';
import { isAbsent, statusOf } from './docker.ts';
import type { ImageUse, ImageUses } from './image-use.ts';

/** Free bytes of the engine's disk; null when it cannot be seen from here. */
export type FreeBytes = () => Promise<number | null>;

export interface EvictImagesOptions {
  docker: Docker;
  use: ImageUse;
  /** Stops when so many bytes are free. */
  wantedFreeBytes: number;
  free: FreeBytes;
  /** References and exact images that endpoints of this installation may start again. */
  keep: ReadonlySet<string>;
  /** An image wanted more recently may belong to a replica that is just about to start. */
  minIdleMs: number;
  now?: number;
}

/** What may go, longest unused first. */
export function candidates(
  uses: ImageUses,
  { keep, minIdleMs, now }: { keep: ReadonlySet<string>; minIdleMs: number; now: number },
): string[] {
  return Object.entries(uses)
    .filter(([image, usedAt]) => !keep.has(image) && now - usedAt >= minIdleMs)
    .sort(([, a], [, b]) => a - b)
    .map(([image]) => image);
}

/**
 * Removes images that this agent pulled and nobody uses until there is room. One with a container, running or not, is never
 * touched: the engine itself refuses to remove it.
 * @returns the images that are gone
 */
export async function evictImages(options: EvictImagesOptions): Promise<string[]> {
  const { docker, use, free, wantedFreeBytes, now = Date.now() } = options;
  const containers = await docker.listContainers({ all: true });
  await use.note(
    containers.map(({ Image }) => Image),
    { now },
  );
  const gone: string[] = [];
  for (const image of candidates(await use.all(), { ...options, now })) {
    const bytes = await free();
    if (bytes === null || bytes >= wantedFreeBytes) break;
    if (!(await remove(docker, image))) continue;
    await use.forget(image);
    gone.push(image);
  }
  return gone;
}

/** False when a container holds it. Names it goes by besides, of the same repository, are taken off first. */
async function remove(docker: Docker, image: string): Promise<boolean> {
  try {
    const [repository] = image.split('@');
    const { RepoTags } = await docker.getImage(image).inspect();
    const own = (RepoTags ?? []).filter((tag) => tag.replace(/:[^:/]+$/, '') === repository);
    for (const name of [...own, image]) {
      await docker
        .getImage(name)
        .remove()
        .catch((error: unknown) => {
          if (!isAbsent(error)) throw error;
        });
    }
    return true;
  } catch (error) {
    if (isAbsent(error)) return true;
    if (statusOf(error) === 409) return false;
    throw error;
  }
}
