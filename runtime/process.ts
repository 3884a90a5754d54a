import { setPriority } from 'node:os';
import type { Logger } from './log.ts';

/**
 * Runs `stop` once on SIGTERM, SIGINT or when the supervisor that started this process is gone (its IPC channel
 * closes), then exits 0; exits 1 if `stop` fails or takes longer than `deadlineMs`.
 */
export function onShutdown(log: Logger, stop: () => Promise<void>, deadlineMs = 8000): void {
  let stopping = false;
  const end = (reason: string) => {
    if (stopping) return;
    stopping = true;
    log.info({ reason }, 'stopping');
    setTimeout(() => {
      log.error({ deadlineMs }, 'stop took too long');
      process.exit(1);
    }, deadlineMs).unref();
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'stop failed');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));
  if (process.channel) {
    process.on('disconnect', () => end('supervisor gone'));
  }
}

/** Tells the supervisor that this process serves; does nothing when it was started by hand. */
export function reportReady(): void {
  process.send?.({ ready: true });
}

/** Above what containers, their engine and the control plane get (0), below the kernel's own threads. */
const DATA_PLANE_NICE = -5;

/**
 * Has the kernel serve this process before others of the machine, so that a container that starts delays no request. Where
 * the user may not (it takes root or CAP_SYS_NICE) all stay equal.
 */
export function goFirst(): void {
  try {
    setPriority(DATA_PLANE_NICE);
  } catch {
    // EACCES or EPERM: as said.
  }
}
