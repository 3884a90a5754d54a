import type { Target } from './replicas.ts';

/** What the choice among replicas looks at; times are milliseconds since the epoch. */
export type Candidate = Pick<Target, 'inFlight' | 'elsewhere' | 'aside' | 'ejectedUntil' | 'newSince'>;

/** A replica is new for so long; by then its limit is beyond what one process sends to a replica. */
const NEW_MS = 10_000;
const DOUBLING_MS = 1000;

/** Lower is better. */
export type Rank = typeof FIRST | typeof SECOND | typeof OUT;
export const FIRST = 0;
/** Only when there is no other: its answers were errors, or it is new and has enough for now. */
export const SECOND = 1;
/** It takes no connections. */
export const OUT = 2;

export function rank(target: Candidate, now: number): Rank {
  if (target.aside) return OUT;
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

/** Requests on a replica: this process's own, as they are now, and those of other gateways, as they last said. */
export function loadOf(target: Candidate): number {
  return target.inFlight + target.elsewhere;
}

/** A replica that knows a request's prompt or session may have so many requests more than the least loaded one, and half of that one's. */
const ALLOWANCE = 4;

/** How much busier a replica is than the least loaded one, as a share of what is allowed: 1 is too much. */
export function excessOf(target: Candidate, least: Candidate): number {
  return (loadOf(target) - loadOf(least)) / (ALLOWANCE + loadOf(least) / 2);
}

/**
 * The least loaded replica among those of the best rank, leaving out `avoid`; null when none is left. `turn` grows with
 * every request: among equals the replicas take turns. With `random`, which is given when other gateways send requests to
 * the same replicas, it is the less loaded of two drawn: their reports are up to a second old, and if each gateway took
 * the least loaded one by them, all would pour on that one until the next report.
 */
export function pick<T extends Candidate>(
  targets: readonly T[],
  avoid: T | null,
  turn: number,
  now: number,
  random: (() => number) | null = null,
): T | null {
  let best: T | null = null;
  let bestRank: Rank = OUT;
  let equals = 0;
  const count = targets.length;
  for (let i = 0; i < count; i++) {
    const target = targets[(turn + i) % count] as T;
    if (target === avoid) continue;
    const its = rank(target, now);
    if (its === OUT || its > bestRank) continue;
    equals = best === null || its < bestRank ? 1 : equals + 1;
    if (equals === 1 || loadOf(target) < loadOf(best as T)) best = target;
    bestRank = its;
  }
  return random !== null && equals > 2 ? ofTwo(targets, avoid, now, bestRank, equals, random) : best;
}

/** Draws two of the `equals` replicas of a rank and takes the less loaded one. */
function ofTwo<T extends Candidate>(
  targets: readonly T[],
  avoid: T | null,
  now: number,
  wanted: Rank,
  equals: number,
  random: () => number,
): T | null {
  const first = Math.floor(random() * equals);
  const skipped = Math.floor(random() * (equals - 1));
  const second = skipped < first ? skipped : skipped + 1;
  let best: T | null = null;
  let nth = 0;
  for (const target of targets) {
    if (target === avoid || rank(target, now) !== wanted) continue;
    if ((nth === first || nth === second) && (best === null || loadOf(target) < loadOf(best))) best = target;
    nth += 1;
  }
  return best;
}
