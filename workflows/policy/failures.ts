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
  /** Deaths in a row, each less than {@link STEADY_AFTER_MS} after a start, also of replicas that had been well: the delay grows with it. */
  crashes?: number;
  /** Causes that get one more start only: the number from which on a replica is that start. */
  once?: Partial<Record<ErrorCode, number>>;
}

/** A replica that served this long was well; its death starts a new streak instead of prolonging one. */
const HEALTHY_AFTER_MS = 60_000;
/** One that served this long has nothing to do with deaths before its own; Kubernetes forgets them after as long. */
const STEADY_AFTER_MS = 600_000;

/** What a failure is judged by. The histories of earlier versions are replayed without the rules that these did not know. */
export interface Rules {
  /** The number of the next replica; null where no cause gets one more start only, and a GPU in use is taken to pass. */
  nextNumber: number | null;
  /** Whether deaths of replicas that had been well add to the delay. */
  slowCrashes: boolean;
}

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
 * doubling one, so that a crash loop slows down and ends; one whose replicas are well for a minute each slows down and
 * goes on, because they serve in between. Some causes are worth one more start ({@link RETRY_ONCE}): replicas that were
 * on their way at the first such failure are not it, the next one is. A lost host says nothing about the revision: it is
 * not counted.
 */
export function countFailure(
  streak: FailureStreak | null,
  replica: ReplicaView,
  failure: Failure,
  limits: StartLimits,
  now: number,
  { nextNumber, slowCrashes }: Rules,
): FailureStreak {
  const served = replica.readyAt !== null;
  const servedMs = now - (replica.readyAt ?? now);
  const same = streak?.revision === replica.revision ? streak : null;
  const goesOn = servedMs < HEALTHY_AFTER_MS ? same : null;
  const one = failure.code === 'HOST_LOST' ? 0 : 1;
  const count = (goesOn?.count ?? 0) + one;
  const slowed = slowCrashes && servedMs < STEADY_AFTER_MS ? same : null;
  const crashes = slowed ? Math.max(slowed.crashes ?? 0, slowed.count) + one : count;
  const doublings = Math.max(0, crashes - 1);
  const backoff =
    served && crashes <= 1 ? 0 : Math.min(limits.retryBaseMs * 2 ** doublings, limits.retryMaxMs);
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
    ...(crashes > count ? { crashes } : {}),
    ...(once ? { once } : {}),
  };
}
