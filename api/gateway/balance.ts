import type { Target } from './replicas.ts';

/**
 * The replica with the fewest requests of this process in flight, leaving out those set aside and `avoid`; null when
 * none is left. `turn` grows with every request: among equals the replicas take turns.
 */
export function pick(
  targets: readonly Target[],
  avoid: Target | null,
  turn: number,
  now: number,
): Target | null {
  let best: Target | null = null;
  const count = targets.length;
  for (let i = 0; i < count; i++) {
    const target = targets[(turn + i) % count] as Target;
    if (target.asideUntil > now || target === avoid) continue;
    if (best === null || target.inFlight < best.inFlight) best = target;
  }
  return best;
}
