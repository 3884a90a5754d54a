/** Waits before a process is started again: short at first, because most crashes are single; long for one that keeps crashing. */
export const BACKOFF = { firstMs: 200, maxMs: 10_000, resetAfterMs: 30_000 } as const;

/** The wait after a process that waited `previousMs` for its start (0: none) and then ran for `upMs`. */
export function nextDelayMs(previousMs: number, upMs: number): number {
  if (previousMs === 0 || upMs >= BACKOFF.resetAfterMs) return BACKOFF.firstMs;
  return Math.min(previousMs * 2, BACKOFF.maxMs);
}
