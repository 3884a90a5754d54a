import { statfs } from 'node:fs/promises';
import { EndpointsError } from '../../spec/errors.ts';
import { evictUnused } from './evict.ts';
import { sizeText } from './text.ts';

/** Room on the disk for a download of `neededBytes`, made by eviction where there is not enough. */
export interface SpaceRequest {
  dir: string;
  /** For the message. */
  repository: string;
  neededBytes: number;
  /** Commits whose files are, or are about to be, in use on this host; null when unknown, and then nothing is evicted. */
  commitsInUse: (() => Promise<ReadonlySet<string>>) | null;
}

/** @throws EndpointsError DISK_FULL with what is needed and what there is */
export async function ensureSpace({
  dir,
  repository,
  neededBytes,
  commitsInUse,
}: SpaceRequest): Promise<void> {
  let free = await freeBytes(dir);
  if (free >= neededBytes) return;
  const evicted = commitsInUse ? await evictUnused(dir, await commitsInUse(), neededBytes - free) : 0;
  free = await freeBytes(dir);
  if (free >= neededBytes) return;
  const tried = evicted > 0 ? `, after ${sizeText(evicted)} of unused weights were removed` : '';
  throw new EndpointsError(
    'DISK_FULL',
    `'${repository}' needs ${sizeText(neededBytes)} more and ${dir} has ${sizeText(free)} free${tried}: free space there, or use a host with a larger disk`,
  );
}

async function freeBytes(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
}
