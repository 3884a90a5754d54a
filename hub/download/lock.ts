import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { sleep } from '../retry.ts';

let counter = 0;

/** How often a waiter looks. */
const POLL_MS = 50;

/**
 * Runs `work` while no one else on this machine holds `path`, in this process or another; waits for its turn first. A
 * lock whose process has died is taken over at once. Processes must share a process namespace to see each other live.
 * @throws the signal's reason when aborted while waiting
 */
export async function withLock<T>(path: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const mine = `${path}.${process.pid}-${++counter}`;
  await writeFile(mine, JSON.stringify({ pid: process.pid, startedAt: await startTime(process.pid) }));
  try {
    // A link appears with its content, all at once, and only where there is none.
    while (!(await linked(mine, path))) {
      if (await isAbandoned(path)) await takeAway(path, mine);
      else await sleep(POLL_MS, signal);
    }
  } finally {
    await rm(mine, { force: true });
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

/** Whether somebody alive holds the lock. */
export async function isLocked(path: string): Promise<boolean> {
  const owner = await readFile(path, 'utf8').catch(() => null);
  return owner !== null && !(await isAbandoned(path));
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  const text = await readFile(path, 'utf8').catch(() => null);
  return text !== null && (await isDead(text));
}

async function isDead(text: string): Promise<boolean> {
  let owner: { pid?: unknown; startedAt?: unknown };
  try {
    owner = JSON.parse(text);
  } catch {
    return true;
  }
  if (typeof owner.pid !== 'number') return true;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return true;
  }
  return (await startTime(owner.pid)) !== owner.startedAt;
}

/** Two waiters may find the same dead owner: a rename lets one of them have it, and a live lock is put back. */
async function takeAway(path: string, mine: string): Promise<void> {
  const away = `${mine}.dead`;
  try {
    await rename(path, away);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (!(await isDead(await readFile(away, 'utf8')))) await linked(away, path);
  await rm(away, { force: true });
}

/** Clock ticks from boot to the start of the process (proc(5), stat field 22); null where there is no /proc. */
async function startTime(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  // The second field, the command's name in brackets, may hold spaces.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}
