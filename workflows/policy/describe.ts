import type { Failure } from '../../spec/errors.ts';
import type { Desired, Projection, ReplicaView } from '../../spec/lifecycle.ts';
import type { Standby } from '../../spec/states.ts';
import type { FailureStreak } from './failures.ts';
import type { Rejection } from './rollout.ts';

/** An endpoint that should run, sorted for the plan and for the words that tell of it. */
export interface Situation {
  desired: Desired;
  now: number;
  target: number;
  /** All that are not over, those that are stopping among them, on hosts that answer. */
  alive: readonly ReplicaView[];
  /** On hosts that do not answer, but routed. */
  unreachable: readonly ReplicaView[];
  /** Of the wanted revision, and of others; none that is stopping, rests or is unreachable. */
  current: readonly ReplicaView[];
  old: readonly ReplicaView[];
  /** Whose containers were kept at zero. */
  resting: readonly ReplicaView[];
  /** Failures of the wanted revision. */
  streak: FailureStreak | null;
  /** The revision to go back to, and its failures. */
  fallback: number | null;
  fallbackStreak: FailureStreak | null;
  /** A host that was lost is no longer told of once all replicas serve again. */
  lossesEnd: boolean;
  /** The wanted revision is given up until the next write. */
  lost: boolean;
  /** A replica of the wanted revision that has found no room for a while. */
  blocked: ReplicaView | null;
  /** One that fits on no host there is, while none of its revision serves and another revision can. */
  homeless: ReplicaView | null;
  /** The wanted revision has not proved itself yet; `trial`: and old replicas serve meanwhile. */
  onTrial: boolean;
  trial: boolean;
  /** The revision that was rolled back. */
  rejected: Rejection | null;
}

type Words = Pick<Projection, 'state' | 'message'>;

/** An endpoint that should have no replica that serves; `left` are still stopping, one may be `kept`. */
export function describeResting(
  desired: Desired,
  reason: 'paused' | 'deleted' | 'scaledToZero',
  { left, kept }: { left: number; kept: Standby | null },
): Projection {
  const resting = {
    paused: { state: 'paused', message: 'Endpoint is paused' },
    scaledToZero: { state: 'scaledToZero', message: 'Endpoint is scaled to zero: the next request wakes it' },
    deleted: { state: 'paused', message: 'Endpoint is deleted' },
  } as const;
  const { state, message } = resting[reason];
  const stopping = left > 0 ? ` (stopping ${left} ${left === 1 ? 'replica' : 'replicas'})` : '';
  const keeping = kept && !stopping ? `; its container is kept ${kept}` : '';
  return {
    state,
    message: `${message}${keeping}${stopping}`,
    errorMessage: null,
    readyReplica: 0,
    targetReplica: 0,
    observedGeneration: desired.generation,
  };
}

/** State and words of an endpoint that should run. */
export function describeRunning(s: Situation): Projection {
  const rolledBack = s.rejected !== null && !s.lost;
  const failure = rolledBack ? s.rejected?.failure : isOvercome(s) ? undefined : s.streak?.failure;
  const { state, message } = rolledBack
    ? ROLLED_BACK
    : s.lost || s.homeless
      ? wordsOfLost(s)
      : s.old.length > 0
        ? wordsOfUpdate(s)
        : wordsOfStart(s);
  return {
    state,
    message: `${message}${besides(s.unreachable)}`,
    errorMessage: failure ? causeOf(failure) : (s.homeless?.message ?? null),
    readyReplica: readyIn(s.current) + readyIn(s.old),
    targetReplica: s.target,
    observedGeneration: s.desired.generation,
  };
}

/** It had to do with a machine, not with the endpoint, and nothing is left of it. */
function isOvercome({ streak, lossesEnd, current, target }: Situation): boolean {
  return lossesEnd && streak?.failure.code === 'HOST_LOST' && readyIn(current) >= target;
}

function besides({ length }: readonly ReplicaView[]): string {
  if (length === 0) return '';
  return length === 1
    ? '; a replica is on a host that does not answer, and is asked as long as it is not replaced'
    : `; ${length} replicas are on hosts that do not answer, and are asked as long as they are not replaced`;
}

const ROLLED_BACK: Words = {
  state: 'updateFailed',
  message: 'Update rolled back, its answers were errors; the previous version serves on',
};

function wordsOfLost({ current, old, fallback, fallbackStreak, lost }: Situation): Words {
  const what = lost ? 'Update failed to start' : 'Update fits on no host, and waits for one';
  if (readyIn(current) + readyIn(old) > 0)
    return { state: 'updateFailed', message: `${what}; the previous version serves on` };
  if (fallback !== null && !fallbackStreak?.exhausted)
    return { state: 'updateFailed', message: `${what}; the previous version is starting again` };
  return { state: 'failed', message: 'Endpoint failed to start' };
}

function wordsOfUpdate({ desired, current, old, blocked, onTrial }: Situation): Words {
  const watched = onTrial && readyIn(current) > 0 ? `: its first replica is ${watchedFor(desired)}` : '';
  const message = `Endpoint is updating to revision ${desired.revision}${watched}`;
  const stepwise = blocked !== null || current.some((r) => r.granted);
  if (!stepwise || readyIn(old) === 0) return { state: 'updating', message };
  return {
    state: 'updating',
    message: `${message}; there is no room for a spare replica, so one by one in the place of an old one`,
  };
}

const watchedFor = ({ bake }: Desired) => `watched for ${bake?.seconds ?? 0} s`;

function wordsOfStart({ desired, current, streak, onTrial, now }: Situation): Words {
  const watched = onTrial ? `; its new revision is ${watchedFor(desired)}` : '';
  if (readyIn(current) > 0) return { state: 'running', message: `Endpoint is ready${watched}` };
  const changed = streak?.failure.code === 'NCCL_SHM' ? ' with more shared memory' : '';
  if (streak && now < streak.nextStartAt) {
    const inSeconds = Math.ceil((streak.nextStartAt - now) / 1000);
    return {
      state: 'initializing',
      message: `${wordsOfStreak(streak)}; trying again in ${inSeconds} s${changed}`,
    };
  }
  const placed = current.find((r) => r.stage !== 'pending');
  if (placed)
    return { state: 'initializing', message: `${placed.message || 'Endpoint is starting'}${changed}` };
  const waiting = current.find((r) => r.blocked);
  return { state: 'pending', message: waiting?.message ?? 'Endpoint waiting to be scheduled' };
}

function wordsOfStreak({ count, crashes }: FailureStreak): string {
  if (crashes !== undefined) return `${crashes} replicas in a row have died, each within minutes`;
  return count === 0 ? 'A host was lost' : `Start ${count} failed`;
}

function readyIn(replicas: readonly ReplicaView[]): number {
  return replicas.filter((r) => r.stage === 'running').length;
}

function causeOf({ code, message, logTail }: Failure): string {
  return logTail ? `${code}: ${message}\n\n${logTail}` : `${code}: ${message}`;
}
