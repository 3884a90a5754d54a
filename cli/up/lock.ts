import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { isAlive, type ProcessId, processId } from './process-id.ts';

/** A lock that this process holds. */
export interface Lock {
  release(): void;
}

export type LockResult = { ok: true; lock: Lock } | { ok: false; owner: ProcessId };

/**
 * Takes `file` for this process. A lock whose owner is dead is taken over; of several processes that try at once,
 * exactly one gets it.
 *
 * How: the file appears with its content in one step (a hard link), so nobody reads half an owner. A dead owner's lock
 * may only be replaced by whoever holds `<file>.takeover`, which is a lock of the same kind, and only while it still
 * names that dead owner; without that second look a slow taker would replace a fast one's fresh lock.
 */
export function takeLock(file: string): LockResult {
  const self = processId(process.pid);
  if (!self) throw new Error('cannot read the start time of this process');
  const mine = `${file}.${process.pid}`;
  writeFileSync(mine, JSON.stringify(self), { mode: 0o600 });
  try {
    return take(file, mine);
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Takes the lock, waiting for whoever holds it; asks `onWait` once it has to. */
export async function waitForLock(
  file: string,
  options: { onWait?: (owner: ProcessId) => void; signal?: AbortSignal } = {},
): Promise<Lock> {
  let told = false;
  for (;;) {
    options.signal?.throwIfAborted();
    const result = takeLock(file);
    if (result.ok) return result.lock;
    if (!told) options.onWait?.(result.owner);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function take(file: string, mine: string): LockResult {
  for (;;) {
    try {
      linkSync(mine, file);
      return { ok: true, lock: { release: () => rmSync(file, { force: true }) } };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const owner = readOwner(file);
    if (!owner) continue; // released just now
    if (isAlive(owner)) return { ok: false, owner };
    const takeover = takeLock(`${file}.takeover`);
    if (!takeover.ok) return takeover;
    try {
      const still = readOwner(file);
      if (still?.pid !== owner.pid || still.started !== owner.started) continue;
      renameSync(mine, file);
      return { ok: true, lock: { release: () => rmSync(file, { force: true }) } };
    } finally {
      takeover.lock.release();
    }
  }
}

function readOwner(file: string): ProcessId | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return JSON.parse(text) as ProcessId;
  } catch {
    return { pid: 0, started: 'unreadable' };
  }
}
