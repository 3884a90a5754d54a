import { ERRORS, type ErrorCode, type Failure } from '../../spec/errors.ts';
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
  /** Causes that get one more start only: the number from which on a replica is that start. */
  once?: Partial<Record<ErrorCode, number>>;
}

/** A replica that served this long was well; its death starts a new streak instead of prolonging one. */
const HEALTHY_AFTER_MS = 60_000;

/**
 * What one more start may cure, and how long to wait for it: what is left of a crashed engine lets go of the GPU within
 * a minute; where shared memory lacked, the next container gets more of it.
 */
const RETRY_ONCE: Partial<Record<ErrorCode, { delayMs?: number }>> = {
  GPU_BUSY: { delayMs: 60_000 },
  NCCL_SHM: {},
};

export const retriedOnce = ({ code }: Failure): boolean => RETRY_ONCE[code] !== undefined;

/**
 * Counts one more failed replica. A replica that never got ready and failed for a reason that will not go away by
 * itself ends the streak at once; one that had been serving is replaced without delay the first time, then with a
 * doubling one, so that a crash loop slows down and ends. Some causes
 * are worth one more start ({@link RETRY_ONCE}): replicas that were on their way at the first such failure are not it,
 * the next one is, with the number `nextNumber`; null in versions that knew no such rule and took
 * a GPU in use for something that passes. A lost host says nothing about the revision: it is not counted.
 */
export function countFailure(
  streak: FailureStreak | null,
  replica: ReplicaView,
  failure: Failure,
  limits: StartLimits,
  now: number,
  nextNumber: number | null,
): FailureStreak {
  const served = replica.readyAt !== null;
  const wasHealthy = replica.readyAt !== null && now - replica.readyAt >= HEALTHY_AFTER_MS;
  const goesOn = streak?.revision === replica.revision && !wasHealthy ? streak : null;
  const before = goesOn?.count ?? 0;
  const count = before + (failure.code === 'HOST_LOST' ? 0 : 1);
  const doublings = Math.max(0, count - 1);
  const backoff = served && count <= 1 ? 0 : Math.min(limits.retryBaseMs * 2 ** doublings, limits.retryMaxMs);
  const rule = nextNumber === null ? undefined : RETRY_ONCE[failure.code];
  const once = rule ? { [failure.code]: nextNumber, ...goesOn?.once } : goesOn?.once;
  const spent = replica.number >= (once?.[failure.code] ?? Number.POSITIVE_INFINITY);
  const passes =
    ERRORS[failure.code].retryable ||
    (rule !== undefined && !spent) ||
    (nextNumber === null && failure.code === 'GPU_BUSY');
  return {
    revision: replica.revision,
    count,
    exhausted: (!served && !passes) || count >= limits.maxStartFailures,
    nextStartAt: now + ((served ? undefined : rule?.delayMs) ?? backoff),
    failure,
    ...(once ? { once } : {}),
  };
}
