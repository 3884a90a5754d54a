/** Back-off between attempts, doubled each time up to the maximum. */
export interface Backoff {
  baseMs: number;
  maxMs: number;
}

/** A server that asks for a longer pause than this is taken as down for now. */
const MAX_ASKED_PAUSE_MS = 300_000;

/**
 * How long to wait before attempt `failures + 1`: what the server asked for, or exponential back-off of which half is
 * random, so that parts that failed together do not come back together.
 * @param random in [0, 1)
 */
export function retryDelayMs(
  failures: number,
  askedMs: number | null,
  { baseMs, maxMs }: Backoff,
  random: number,
): number {
  const backoff = Math.min(maxMs, baseMs * 2 ** (failures - 1)) * (0.5 + random / 2);
  return Math.max(backoff, Math.min(askedMs ?? 0, MAX_ASKED_PAUSE_MS));
}

/**
 * The pause a response asks for, in milliseconds: `Retry-After` (seconds or a date), or the Hub's
 * `RateLimit: "api";r=0;t=55` (IETF draft ratelimit-headers-09) when nothing remains of the window. Null when it asks
 * for none.
 */
export function askedPauseMs(header: (name: string) => string | null, now: number): number | null {
  const retryAfter = header('retry-after');
  if (retryAfter !== null) {
    const seconds = Number(retryAfter);
    const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(retryAfter) - now;
    if (ms >= 0) return ms;
  }
  const limit = /;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)/.exec(header('ratelimit') ?? '');
  return limit ? Number(limit[1]) * 1000 : null;
}

/** Waits; rejects with the signal's reason when aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
