import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, type ProcessId } from './process-id.ts';

/**
 * Ends what a supervisor that was killed left running: SIGINT, on which PostgreSQL ends fast and cleanly and every
 * other process of ours in order, then SIGKILL. A process number that belongs to another program by now is left alone.
 * Returns the names of those it ended.
 */
export async function endLeftovers(
  processes: readonly { name: string; id: ProcessId }[],
  graceMs = 8000,
): Promise<string[]> {
  const alive = processes.filter(({ id }) => isAlive(id));
  const deadline = performance.now() + graceMs;
  await Promise.all(alive.map(({ id }) => end(id, deadline)));
  return alive.map(({ name }) => name);
}

async function end(id: ProcessId, deadline: number): Promise<void> {
  signal(id, 'SIGINT');
  while (isAlive(id)) {
    if (performance.now() > deadline) signal(id, 'SIGKILL');
    await sleep(50);
  }
}

function signal(id: ProcessId, name: NodeJS.Signals): void {
  try {
    if (isAlive(id)) process.kill(id.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
