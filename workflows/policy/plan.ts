import type { Desired, Projection, ReplicaView, StopReason } from '../../spec/lifecycle.ts';
import { isFinal, isStarting, type Standby } from '../../spec/states.ts';
import type { FailureStreak } from './failures.ts';

/** What an endpoint's workflow knows besides the owner's wish. */
export interface Observed {
  /** Replicas that are not over yet. */
  replicas: readonly ReplicaView[];
  /** How many replicas the load asks for, within the owner's bounds; 0 is asleep. */
  target: number;
  streak: FailureStreak | null;
}

export interface Plan {
  /** How many replicas of the wanted revision to start. */
  start: number;
  /** With `standby`, the replica's container is kept that way. */
  stop: { number: number; reason: StopReason; standby?: Standby }[];
  /** Replicas at rest, or on their way to it, that should serve again. */
  wake: number[];
  projection: Projection;
  /** Look again no later than this even if nothing happens (milliseconds since the epoch). */
  wakeAt: number | null;
}

/** Replicas allowed beyond the target while a new revision comes up. */
const SURGE = 1;
/** A replica of a new revision that finds no room for so long gets the room of an old one. */
const SURGE_PATIENCE_MS = 3_000;

/**
 * What to do next for one endpoint. Pure: called again after every event, it converges because each call looks at the
 * whole state, never at what the last one intended.
 */
export function plan(desired: Desired, observed: Observed, now: number): Plan {
  const alive = observed.replicas.filter((r) => !isFinal(r.stage));
  if (desired.phase !== 'running') return stopAll(desired, alive, desired.phase);
  if (observed.target === 0) return stopAll(desired, alive, 'scaledToZero');
  return rollOrScale(desired, alive, observed, now);
}

function stopAll(
  desired: Desired,
  alive: ReplicaView[],
  reason: 'paused' | 'deleted' | 'scaledToZero',
): Plan {
  const kept = reason === 'scaledToZero' ? keptAtZero(desired, alive) : undefined;
  const left = alive.filter((r) => r !== kept || r.stage !== 'standby').length;
  const stopping = left > 0 ? `stopping ${left} ${left === 1 ? 'replica' : 'replicas'}` : null;
  const resting = {
    paused: { state: 'paused', message: 'Endpoint is paused' },
    scaledToZero: {
      state: 'scaledToZero',
      message: `Endpoint is scaled to zero: the next request wakes it${kept && !stopping ? `; its container is kept ${kept.resting}` : ''}`,
    },
    deleted: { state: 'paused', message: 'Endpoint is deleted' },
  } as const;
  const { state, message } = resting[reason];
  return {
    start: 0,
    stop: [
      ...alive.filter((r) => !r.stopping && r !== kept).map((r) => ({ number: r.number, reason })),
      ...(kept && !kept.resting && desired.standby
        ? [{ number: kept.number, reason, standby: desired.standby }]
        : []),
    ],
    wake: [],
    wakeAt: null,
    projection: {
      state,
      message: stopping ? `${message} (${stopping})` : message,
      errorMessage: null,
      readyReplica: 0,
      targetReplica: 0,
      observedGeneration: desired.generation,
    },
  };
}

/** The one replica whose container stays while the endpoint is at zero: the one at rest already, else one that serves. */
function keptAtZero({ standby, revision }: Desired, alive: ReplicaView[]): ReplicaView | undefined {
  if (!standby) return undefined;
  const able = alive.filter(
    (r) =>
      r.revision === revision && !r.stopping && (r.resting ? r.resting === standby : r.stage === 'running'),
  );
  return able.find((r) => r.resting) ?? able[0];
}

function rollOrScale(desired: Desired, alive: ReplicaView[], observed: Observed, now: number): Plan {
  const { target } = observed;
  const streak = observed.streak?.revision === desired.revision ? observed.streak : null;
  const awake = alive.filter((r) => !r.stopping && !r.resting);
  const current = awake.filter((r) => r.revision === desired.revision);
  const old = awake.filter((r) => r.revision !== desired.revision);
  const ready = (replicas: ReplicaView[]) => replicas.filter((r) => r.stage === 'running');

  // Starts: up to the target, with one to spare while old replicas serve, not before a failed start's delay is over,
  // and never more containers at once than the owner's maximum and the spare.
  const missing = Math.max(0, target - current.length);
  const room = target + (old.length > 0 ? SURGE : 0) - current.length - old.length;
  const ceiling = desired.maxReplica + SURGE - alive.length;
  const held = streak !== null && (streak.exhausted || now < streak.nextStartAt);
  // A container that was kept comes before a new one; what rests and is not needed is of no use any more.
  const resting = alive.filter((r) => r.resting && !r.stopping);
  const wakeable = resting.filter((r) => r.revision === desired.revision);
  const wake = held ? [] : wakeable.slice(0, Math.max(0, Math.min(missing, room)));
  const start = held ? 0 : Math.max(0, Math.min(missing - wake.length, room - wake.length, ceiling));

  const stop: Plan['stop'] = [];
  for (const r of resting) {
    if (r.revision !== desired.revision) stop.push({ number: r.number, reason: 'superseded' });
    else if (missing === 0) stop.push({ number: r.number, reason: 'scaledDown' });
  }
  // Old replicas still on their way are of no use; those that serve go one by one as new ones take over, or make room
  // when a new one finds none.
  const useless = streak?.exhausted ? [] : old.filter((r) => isStarting(r.stage));
  for (const r of useless) stop.push({ number: r.number, reason: 'superseded' });
  const anyStopping = alive.some((r) => r.stopping) || useless.length > 0;
  const noRoom = current.some((r) => r.blocked && now - r.stageSince >= SURGE_PATIENCE_MS);
  const spare = ready(current).length + ready(old).length - target;
  const retire = Math.max(spare, noRoom && !anyStopping ? 1 : 0, 0);
  for (const r of ready(old).slice(0, retire)) stop.push({ number: r.number, reason: 'superseded' });
  // Surplus of the wanted revision: the ones still on their way first, then the youngest.
  const surplus = Math.max(0, current.length - target);
  const youngestFirst = [...current].sort(
    (a, b) => Number(isStarting(b.stage)) - Number(isStarting(a.stage)) || b.number - a.number,
  );
  for (const r of youngestFirst.slice(0, surplus)) stop.push({ number: r.number, reason: 'scaledDown' });

  const blockedSince = current.filter((r) => r.blocked).map((r) => r.stageSince);
  const deadlines = [
    ...(streak && !streak.exhausted && now < streak.nextStartAt ? [streak.nextStartAt] : []),
    ...(old.length > 0 && !noRoom ? blockedSince.map((since) => since + SURGE_PATIENCE_MS) : []),
  ];
  return {
    start,
    stop,
    wake: wake.map((r) => r.number),
    wakeAt: deadlines.length > 0 ? Math.min(...deadlines) : null,
    projection: {
      ...describe(desired, current, old, streak, now),
      readyReplica: ready(current).length + ready(old).length,
      targetReplica: target,
      observedGeneration: desired.generation,
    },
  };
}

/** State and words for an endpoint that should run. */
function describe(
  desired: Desired,
  current: ReplicaView[],
  old: ReplicaView[],
  streak: FailureStreak | null,
  now: number,
): Pick<Projection, 'state' | 'message' | 'errorMessage'> {
  const readyNow = current.filter((r) => r.stage === 'running').length;
  const readyOld = old.filter((r) => r.stage === 'running').length;
  const cause = streak ? causeOf(streak) : null;
  if (streak?.exhausted && readyNow === 0) {
    return readyOld > 0
      ? {
          state: 'updateFailed',
          message: 'Update failed to start; the previous version serves on',
          errorMessage: cause,
        }
      : { state: 'failed', message: 'Endpoint failed to start', errorMessage: cause };
  }
  if (old.length > 0) {
    return {
      state: 'updating',
      message: `Endpoint is updating to revision ${desired.revision}`,
      errorMessage: cause,
    };
  }
  if (readyNow > 0) return { state: 'running', message: 'Endpoint is ready', errorMessage: cause };
  if (streak && now < streak.nextStartAt) {
    const inSeconds = Math.ceil((streak.nextStartAt - now) / 1000);
    return {
      state: 'initializing',
      message: `Start ${streak.count} failed; trying again in ${inSeconds} s`,
      errorMessage: cause,
    };
  }
  const placed = current.find((r) => r.stage !== 'pending');
  if (placed)
    return { state: 'initializing', message: placed.message || 'Endpoint is starting', errorMessage: cause };
  const waiting = current.find((r) => r.blocked);
  return {
    state: 'pending',
    message: waiting?.message ?? 'Endpoint waiting to be scheduled',
    errorMessage: cause,
  };
}

function causeOf(streak: FailureStreak): string {
  const { code, message, logTail } = streak.failure;
  return logTail ? `${code}: ${message}\n\n${logTail}` : `${code}: ${message}`;
}
