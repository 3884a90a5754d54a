import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isLocked } from '../../hub/download/lock.ts';
import { discardPartial } from '../../hub/download/partial.ts';
import { blobsDir } from './layout.ts';

/** Younger things may belong to a replica that is just about to start, or to a download between two attempts. */
const MIN_IDLE_MS = 10 * 60_000;

export interface EvictOptions {
  /** Default 10 minutes. */
  minIdleMs?: number;
  now?: number;
}

/**
 * Removes weights nobody uses until `wantedBytes` are free again: first what interrupted downloads and removed snapshots
 * left, then the snapshots longest unused. A snapshot of a commit in `keepCommits` is never touched, nor anything that
 * was used or downloaded in the last ten minutes.
 * @returns bytes freed, which may be less than wanted, or none
 */
export async function evictUnused(
  dir: string,
  keepCommits: ReadonlySet<string>,
  wantedBytes: number,
  { minIdleMs = MIN_IDLE_MS, now = Date.now() }: EvictOptions = {},
): Promise<number> {
  const idleSince = now - minIdleMs;
  let freed = await removeLeftovers(dir, idleSince, wantedBytes);
  await removeDeadLocks(dir, idleSince);
  for (const snapshot of await snapshots(dir)) {
    if (freed >= wantedBytes) break;
    if (snapshot.usedAt > idleSince || keepCommits.has(snapshot.commit)) continue;
    const inodes = await inodesOf(snapshot.path);
    await rm(snapshot.path, { recursive: true, force: true });
    freed += await removeBlobs(dir, inodes);
  }
  return freed;
}

async function removeLeftovers(dir: string, idleSince: number, wantedBytes: number): Promise<number> {
  let freed = 0;
  for (const blob of await blobs(dir)) {
    if (freed >= wantedBytes) break;
    if (blob.links > 1 || blob.changedAt > idleSince || (await isLocked(`${blob.path}.lock`))) continue;
    if (blob.isPartial) await discardPartial(blob.path);
    else await rm(blob.path, { force: true });
    freed += blob.diskBytes;
  }
  return freed;
}

/** Locks, and places in the queue for one, of processes that were killed. */
async function removeDeadLocks(dir: string, idleSince: number): Promise<void> {
  for (const name of await list(blobsDir(dir))) {
    if (!/\.lock(\.|$)/.test(name)) continue;
    const path = join(blobsDir(dir), name);
    const info = await stat(path).catch(() => null);
    if (info && info.mtimeMs <= idleSince && !(await isLocked(path))) await rm(path, { force: true });
  }
}

/** Of the blobs that a removed snapshot had names for, those without any other name. */
async function removeBlobs(dir: string, inodes: ReadonlySet<number>): Promise<number> {
  let freed = 0;
  for (const blob of await blobs(dir)) {
    if (!inodes.has(blob.inode) || blob.links > 1 || (await isLocked(`${blob.path}.lock`))) continue;
    await rm(blob.path, { force: true });
    freed += blob.diskBytes;
  }
  return freed;
}

interface Snapshot {
  path: string;
  commit: string;
  usedAt: number;
}

/** Longest unused first. */
async function snapshots(dir: string): Promise<Snapshot[]> {
  const found: Snapshot[] = [];
  const root = join(dir, 'snapshots');
  for (const repository of await list(root)) {
    for (const commit of await list(join(root, repository))) {
      const path = join(root, repository, commit);
      const { mtimeMs } = await stat(path);
      found.push({ path, commit, usedAt: mtimeMs });
    }
  }
  return found.toSorted((a, b) => a.usedAt - b.usedAt);
}

interface Blob {
  /** Without the ending of a partial one. */
  path: string;
  isPartial: boolean;
  inode: number;
  links: number;
  changedAt: number;
  diskBytes: number;
}

/** Oldest first. */
async function blobs(dir: string): Promise<Blob[]> {
  const found: Blob[] = [];
  for (const name of await list(blobsDir(dir))) {
    const [, stem = '', ending = ''] = /^([^.]+)(\..*)?$/.exec(name) ?? [];
    if (ending !== '' && ending !== '.partial') continue;
    const info = await stat(join(blobsDir(dir), name)).catch(() => null);
    if (!info) continue;
    found.push({
      path: join(blobsDir(dir), stem),
      isPartial: ending !== '',
      inode: info.ino,
      links: info.nlink,
      changedAt: info.ctimeMs,
      // Not the size: the holes of a partial file take no room.
      diskBytes: info.blocks * 512,
    });
  }
  return found.toSorted((a, b) => a.changedAt - b.changedAt);
}

async function inodesOf(folder: string): Promise<Set<number>> {
  const inodes = new Set<number>();
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) inodes.add((await stat(join(entry.parentPath, entry.name))).ino);
  }
  return inodes;
}

async function list(path: string): Promise<string[]> {
  return readdir(path).catch(() => []);
}
