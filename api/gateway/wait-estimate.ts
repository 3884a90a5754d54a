import type { RoutedEndpoint } from '../../store/snapshot.ts';
import type { Refusal } from './errors.ts';

/**
 * What is still expected of a start that takes longer than the usual one, as a share of that: one that is late is likely to
 * stay so for a while, and nobody should ask every second until then.
 */
const LATE_SHARE = 0.2;
/** Clients that obey `Retry-After` often give up on longer ones, and a start may be quicker than the usual one. */
const MAX_RETRY_SECONDS = 60;

/**
 * Seconds until an endpoint without a ready replica is likely to have one, 1 or more: what its last starts took, less the
 * time the present one has been under way (`since`, in milliseconds since the epoch as `now`, where the store names none).
 * Null when none of its replicas has ever started.
 */
export function waitEstimate(
  { startSeconds, startingSince }: Pick<RoutedEndpoint, 'startSeconds' | 'startingSince'>,
  since: number,
  now: number,
): number | null {
  if (startSeconds === null) return null;
  // The store's clock may be ahead of ours.
  const underWaySeconds = Math.max(0, now - (startingSince ?? since)) / 1000;
  return Math.max(1, Math.ceil(Math.max(startSeconds - underWaySeconds, startSeconds * LATE_SHARE)));
}

/** What a refused caller is told of it. */
export function whenToRetry(
  estimate: number | null,
): Pick<Refusal, 'waitEstimateSeconds' | 'retryAfterSeconds'> {
  if (estimate === null) return {};
  return { waitEstimateSeconds: estimate, retryAfterSeconds: Math.min(estimate, MAX_RETRY_SECONDS) };
}
