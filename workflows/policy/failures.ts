import { ERRORS, type Failure } from '../../spec/errors.ts';
import type { ReplicaView, StartLimits } from '../../spec/lifecycle.ts';

/** Failed replicas of one revision in a row, and when the next may be started. */
export interface FailureStreak {
  revision: number;
  count: number;
  /** No further start: only a write to the endpoint (update, resume) begins anew. */
  exhausted: boolean;
  /** Milliseconds since the epoch. */
  nextStartAt: number;
  failure: Failure;
}

/** A replica that served this long was well; its death starts a new streak instead of prolonging one. */
const HEALTHY_AFTER_MS = 60_000;

/**
 * Counts one more failed replica. A replica that never got ready and failed for a reason that will not go away by
 * itself ends the streak at once; one that had been serving is replaced without delay the first time, then with a
 * doubling one, so that a crash loop slows down and ends. A lost host says nothing about the revision: it is not counted.
 */
export function countFailure(
  streak: FailureStreak | null,
  replica: ReplicaView,
  failure: Failure,
  limits: StartLimits,
  now: number,
): FailureStreak {
  const served = replica.readyAt !== null;
  const wasHealthy = replica.readyAt !== null && now - replica.readyAt >= HEALTHY_AFTER_MS;
  const before = streak?.revision === replica.revision && !wasHealthy ? streak.count : 0;
  const count = before + (failure.code === 'HOST_LOST' ? 0 : 1);
  const doublings = Math.max(0, count - 1);
  const delay = served && count <= 1 ? 0 : Math.min(limits.retryBaseMs * 2 ** doublings, limits.retryMaxMs);
  return {
    revision: replica.revision,
    count,
    exhausted: (!served && !ERRORS[failure.code].retryable) || count >= limits.maxStartFailures,
    nextStartAt: now + delay,
    failure,
  };
}
