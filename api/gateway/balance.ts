import type { Target } from './replicas.ts';

/** What the choice among replicas looks at; times are milliseconds since the epoch. */
export type Candidate = Pick<Target, 'inFlight' | 'asideUntil' | 'ejectedUntil' | 'newSince'>;

/** A replica is new for so long; by then its limit is beyond what one process sends to a replica. */
const NEW_MS = 10_000;
const DOUBLING_MS = 1000;

/** Lower is better. */
export type Rank = typeof FIRST | typeof SECOND | typeof OUT;
export const FIRST = 0;
/** Only when there is no other: its answers were errors, or it is new and has enough for now. */
export const SECOND = 1;
/** It took no connection a moment ago. */
export const OUT = 2;

export function rank(target: Candidate, now: number): Rank {
  if (target.asideUntil > now) return OUT;
  if (target.ejectedUntil > now) return SECOND;
  const age = now - target.newSince;
  return age < NEW_MS && target.inFlight >= startLimit(age) ? SECOND : FIRST;
}

/**
 * Requests a new replica may have in flight while others could take them: one in its first second, twice as many every
 * second after. With the fewest in flight it would otherwise get a whole burst, with cold caches, before its first answer.
 */
function startLimit(ageMs: number): number {
  return 2 ** Math.floor(Math.max(ageMs, 0) / DOUBLING_MS);
}

/**
 * The replica with the fewest requests of this process in flight among those of the best rank, leaving out `avoid`; null
 * when none is left. `turn` grows with every request: among equals the replicas take turns.
 */
export function pick<T extends Candidate>(
  targets: readonly T[],
  avoid: T | null,
  turn: number,
  now: number,
): T | null {
  let best: T | null = null;
  let bestRank: Rank = OUT;
  const count = targets.length;
  for (let i = 0; i < count; i++) {
    const target = targets[(turn + i) % count] as T;
    if (target === avoid) continue;
    const its = rank(target, now);
    if (its === OUT || its > bestRank) continue;
    if (best === null || its < bestRank || target.inFlight < best.inFlight) {
      best = target;
      bestRank = its;
    }
  }
  return best;
}
