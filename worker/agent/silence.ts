import type { ProbeOutcome } from '../../activities/health/probe.ts';

/** One slow answer, or a restart of Docker's proxy, is no loss. In rounds of questions. */
const LOST_AFTER_ROUNDS = 3;
/**
 * A server whose few HTTP threads all wait for the model gives no answer either, and stopping it would make an overload
 * worse. As long as it computes it is given this long.
 */
const BUSY_LOST_AFTER_ROUNDS = 60;

/** A ready replica that does not say it is healthy: since when, and how that looks. Times in ms. */
export interface Silence {
  since: number;
  /** Since when it has looked dead, and not only busy; null while it looks busy. */
  deadSince: number | null;
  deadProbes: number;
  outcome: ProbeOutcome;
}

/** What is known after one more question; null when the answer was good. `busy`: it used the CPU since the last one. */
export function afterProbe(
  before: Silence | null,
  outcome: ProbeOutcome,
  { now, busy }: { now: number; busy: boolean },
): Silence | null {
  if (outcome.kind === 'ok') return null;
  const since = before?.since ?? now;
  if (outcome.kind === 'timeout' && busy) return { since, deadSince: null, deadProbes: 0, outcome };
  return {
    since,
    deadSince: before?.deadSince ?? now,
    deadProbes: (before?.deadProbes ?? 0) + 1,
    outcome,
  };
}

/** `roundMs`: time between two questions. */
export function isLost(silence: Silence, now: number, roundMs: number): boolean {
  const { since, deadSince, deadProbes } = silence;
  const dead =
    deadSince !== null && deadProbes >= LOST_AFTER_ROUNDS && now - deadSince >= LOST_AFTER_ROUNDS * roundMs;
  return dead || now - since >= BUSY_LOST_AFTER_ROUNDS * roundMs;
}

/** An inference that speaks against the engine: not one it refuses (4xx, 501), as it would refuse a caller's. */
export function isFault(outcome: ProbeOutcome): boolean {
  if (outcome.kind === 'status') return outcome.status >= 500 && outcome.status !== 501;
  return outcome.kind !== 'ok';
}

/** What an engine with too many requests does as well. */
export function mayBeBusy(outcome: ProbeOutcome): boolean {
  return outcome.kind === 'timeout' || (outcome.kind === 'status' && outcome.status === 503);
}
