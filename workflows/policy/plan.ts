import type { Failure } from '../../spec/errors.ts';
import type { Desired, Projection, ReplicaView, StopReason } from '../../spec/lifecycle.ts';
import { isFinal, isStarting, type Standby } from '../../spec/states.ts';
import { describeResting, describeRunning, type Situation } from './describe.ts';
import type { FailureStreak } from './failures.ts';
import { isOnTrial, type Rejection } from './rollout.ts';

/** What an endpoint's workflow knows besides the owner's wish. */
export interface Observed {
  /** Replicas that are not over yet. */
  replicas: readonly ReplicaView[];
  /** How many replicas the load asks for, within the owner's bounds; 0 is asleep. */
  target: number;
  streak: FailureStreak | null;
  /** The newest revision that has served alone; undefined: none is ever gone back to. */
  stable?: number | null | undefined;
  /** Its failures since the wanted one cannot start. */
  stableStreak?: FailureStreak | null;
  /** The newest revision that was watched and found good, and the one that was found bad. */
  approved?: number | null;
  rejected?: Rejection | null;
  /** A host that was lost is no longer told of once all replicas serve again. */
  lossesEnd?: boolean;
}

export interface Plan {
  /** How many replicas to start, and of which revision. */
  start: number;
  revision: number;
  /** With `standby`, the replica's container is kept that way; with `failure`, that is the cause. */
  stop: { number: number; reason: StopReason; standby?: Standby; failure?: Failure }[];
  /** Replicas at rest, or on their way to it, that should serve again. */
  wake: number[];
  /** The replica for which an old one is given up. */
  madeRoomFor: number | null;
  /** The revision to go back to from now on, where that is seen. */
  proven: number | null;
  projection: Projection;
  /** Look again no later than this even if nothing happens (milliseconds since the epoch). */
  wakeAt: number | null;
}

/** Replicas allowed beyond the target while a new revision comes up. */
export const SURGE = 1;
/** Replicas of a revision that is on trial, while the old ones serve: enough to see how it answers. */
const CANARIES = 1;
/** A replica of a new revision that finds no room for so long gets the room of an old one. */
const SURGE_PATIENCE_MS = 3_000;

/**
 * What to do next for one endpoint. Pure: called again after every event, it converges because each call looks at the
 * whole state, never at what the last one intended.
 */
export function plan(desired: Desired, observed: Observed, now: number): Plan {
  const alive = observed.replicas.filter((r) => !isFinal(r.stage));
  const { stable, rejected } = observed;
  // A revision that was rolled back is out of the question: the one before it is what is wanted.
  const back = rejected?.revision === desired.revision && stable != null ? stable : null;
  const wanted = back === null ? desired : { ...desired, revision: back };
  if (desired.phase !== 'running') return stopAll(wanted, alive, desired.phase);
  if (observed.target === 0) return stopAll(wanted, alive, 'scaledToZero');
  const streak = back === null ? observed.streak : (observed.stableStreak ?? null);
  const situation = assess(wanted, alive, { ...observed, streak }, now);
  return situation.lost || situation.homeless ? holdOn(situation) : rollOrScale(situation);
}

function stopAll(
  desired: Desired,
  alive: ReplicaView[],
  reason: 'paused' | 'deleted' | 'scaledToZero',
): Plan {
  const kept = reason === 'scaledToZero' ? keptAtZero(desired, alive) : undefined;
  const left = alive.filter((r) => !awaitsHost(r) && (r !== kept || r.stage !== 'standby')).length;
  const others = alive.filter((r) => (!r.stopping && r !== kept) || (reason === 'deleted' && awaitsHost(r)));
  return {
    ...nothing(desired.revision),
    stop: [
      ...stops(others, reason),
      ...(kept && !kept.resting && desired.standby
        ? [{ number: kept.number, reason, standby: desired.standby }]
        : []),
    ],
    projection: describeResting(desired, reason, { left, kept: kept?.resting ?? null }),
  };
}

/** The one replica whose container stays while the endpoint is at zero: the one at rest already, else one that serves. */
function keptAtZero({ standby, revision }: Desired, alive: ReplicaView[]): ReplicaView | undefined {
  if (!standby) return undefined;
  const able = alive.filter(
    (r) => r.revision === revision && !r.stopping && (r.resting ? r.resting === standby : isReady(r)),
  );
  return able.find((r) => r.resting) ?? able[0];
}

const nothing = (revision: number) => ({
  start: 0,
  revision,
  stop: [],
  wake: [],
  madeRoomFor: null,
  proven: null,
  wakeAt: null,
});

const isReady = (r: ReplicaView) => r.stage === 'running' && !r.unreachable;
/** Its container is stopped when its host answers again, which may be never: nothing waits for that but the replica. */
const awaitsHost = (r: ReplicaView) => r.stopping && r.unreachable === true;

/** Waits for a host that is large enough: the room of another one would not help it. */
const isHomeless = (r: ReplicaView) => r.blocked && r.fitsNowhere === true;

function assess(desired: Desired, alive: ReplicaView[], observed: Observed, now: number): Situation {
  const awake = alive.filter((r) => !r.stopping && !r.resting);
  const unreachable = awake.filter((r) => r.unreachable);
  const current = awake.filter((r) => r.revision === desired.revision && !r.unreachable);
  const old = awake.filter((r) => r.revision !== desired.revision && !r.unreachable);
  const streak = observed.streak?.revision === desired.revision ? observed.streak : null;
  const served = awake
    .filter((r) => r.revision !== desired.revision && r.readyAt !== null)
    .map((r) => r.revision);
  const stable = observed.stable === null && served.length > 0 ? Math.max(...served) : observed.stable;
  const fallback = stable != null && stable !== desired.revision ? stable : null;
  const others = old.length > 0 || fallback !== null;
  const onTrial = isOnTrial(desired, { ...observed, stable: fallback });
  const blocked = current.find((r) => r.blocked && now - r.stageSince >= SURGE_PATIENCE_MS) ?? null;
  return {
    desired,
    now,
    target: observed.target,
    alive: alive.filter((r) => !r.unreachable),
    unreachable,
    current,
    old,
    resting: alive.filter((r) => r.resting && !r.stopping),
    streak,
    fallback,
    fallbackStreak: fallback !== null ? (observed.stableStreak ?? null) : null,
    lossesEnd: observed.lossesEnd === true,
    // A revision that serves already and whose next replica fails has not failed as an update.
    lost: streak?.exhausted === true && (others || !current.some(isReady)),
    blocked,
    homeless: others && !current.some(isReady) ? (current.find(isHomeless) ?? null) : null,
    onTrial,
    trial: onTrial && old.length > 0,
    rejected: observed.rejected ?? null,
  };
}

/** Towards the target in the wanted revision, with at most one replica to spare while old ones serve. */
function rollOrScale(s: Situation): Plan {
  const { desired, target, current, old, resting, alive, streak, now, trial, fallback } = s;
  // What is on trial does not count as a replacement yet.
  const ready = (trial ? 0 : current.filter(isReady).length) + old.filter(isReady).length;
  // Not before a failed start's delay is over, and never more containers at once than the owner's maximum and the spare.
  const missing = Math.max(0, (trial ? Math.min(CANARIES, target) : target) - current.length);
  const room = target + (old.length > 0 ? SURGE : 0) - current.length - old.length;
  const ceiling = desired.maxReplica + SURGE - alive.length;
  const held = streak !== null && now < streak.nextStartAt;
  // A container that was kept comes before a new one; what rests and is not needed is of no use any more.
  const wakeable = resting.filter((r) => r.revision === desired.revision);
  const wake = held ? [] : wakeable.slice(0, Math.max(0, Math.min(missing, room)));
  const start = held ? 0 : Math.max(0, Math.min(missing - wake.length, room - wake.length, ceiling));
  // What is lacking during a trial is made up for by the revision that is known to serve.
  const lacking = trial && start === 0 ? Math.min(target - current.length - old.length, ceiling) : 0;
  const unneeded = missing === 0 ? wakeable : [];
  const outdated = resting.filter((r) => r.revision !== desired.revision);

  // Old replicas still on their way are of no use, unless they have served and are being taken over again; those that
  // serve go one by one as new ones take over, or make room when a new one finds none.
  const enough = current.filter(isReady).length >= target;
  const useless = old.filter(
    (r) => isStarting(r.stage) && (r.readyAt === null || enough) && !(trial && r.revision === fallback),
  );
  const stuck = current.some((r) => r.blocked && r.granted);
  const anyStopping = alive.some((r) => r.stopping) || useless.length > 0;
  const spare = Math.max(0, ready - target);
  const givesUp = spare === 0 && s.blocked !== null && !stuck && !anyStopping && old.some(isReady);
  // Of those that serve, what never proved itself goes first.
  const proven = (r: ReplicaView) => Number(s.onTrial && r.revision === fallback);
  const leastFirst = old.filter(isReady).sort((a, b) => proven(a) - proven(b));
  const retired = [...useless, ...leastFirst.slice(0, spare + Number(givesUp))];

  const blockedSince =
    old.some(isReady) && !stuck ? current.filter((r) => r.blocked).map((r) => r.stageSince) : [];
  const alone = [...old, ...s.unreachable].every((r) => r.revision === desired.revision);
  const settled = alone && current.some(isReady) && !streak?.exhausted && !s.onTrial;
  return {
    ...nothing(lacking > 0 && fallback !== null ? fallback : desired.revision),
    start: start + Math.max(0, lacking),
    stop: [
      ...replacedIn(s, ready),
      ...[...outdated, ...retired].map((r) => outdatedStop(r, s.rejected)),
      ...stops([...unneeded, ...surplusOf(current, target)], 'scaledDown'),
    ],
    wake: wake.map((r) => r.number),
    madeRoomFor: givesUp ? (s.blocked?.number ?? null) : null,
    proven: settled ? desired.revision : null,
    projection: describeRunning(s),
    wakeAt: earliest(now, [streak?.nextStartAt, ...blockedSince.map((since) => since + SURGE_PATIENCE_MS)]),
  };
}

/**
 * The wanted revision cannot start, or fits on no host there is: keeps what serves, and replaces what it loses by the
 * revision that served before. One that waits for a larger host goes on waiting.
 */
function holdOn(s: Situation): Plan {
  const { desired, target, current, old, resting, alive, fallback, fallbackStreak, now } = s;
  const homeless = current.filter(isHomeless);
  const all = [...current.filter((r) => !isHomeless(r)), ...old];
  const ready = all.filter(isReady).length;
  const ceiling = desired.maxReplica + SURGE - alive.length;
  const held =
    fallback === null ||
    (fallbackStreak !== null && (fallbackStreak.exhausted || now < fallbackStreak.nextStartAt));
  const start = held ? 0 : Math.max(0, Math.min(target - all.length, ceiling));
  return {
    ...nothing(fallback ?? desired.revision),
    start,
    stop: [
      ...replacedIn(s, ready),
      ...stops([...resting, ...homeless.slice(s.lost ? 0 : 1), ...surplusOf(all, target)], 'scaledDown'),
    ],
    proven: fallback,
    projection: describeRunning(s),
    wakeAt: fallbackStreak?.exhausted ? null : earliest(now, [fallbackStreak?.nextStartAt]),
  };
}

/**
 * Those on hosts that do not answer, for which others are `ready`. Gateways may reach them or not: until there are enough
 * others they are better than nothing. Of another revision than the wanted one first.
 */
function replacedIn({ desired, target, unreachable }: Situation, ready: number): Plan['stop'] {
  const outdated = (r: ReplicaView) => Number(r.revision !== desired.revision);
  const leastFirst = [...unreachable].sort((a, b) => outdated(b) - outdated(a) || a.number - b.number);
  return stops(leastFirst.slice(0, Math.max(0, ready + unreachable.length - target)), 'replaced');
}

/** What is too many: the ones still on their way first, then the youngest. */
function surplusOf(replicas: readonly ReplicaView[], target: number): ReplicaView[] {
  return [...replicas]
    .sort((a, b) => Number(isStarting(b.stage)) - Number(isStarting(a.stage)) || b.number - a.number)
    .slice(0, Math.max(0, replicas.length - target));
}

const stops = (replicas: readonly ReplicaView[], reason: StopReason) =>
  replicas.map(({ number }) => ({ number, reason }));

function outdatedStop({ number, revision }: ReplicaView, rejected: Rejection | null): Plan['stop'][number] {
  if (rejected?.revision !== revision) return { number, reason: 'superseded' };
  return { number, reason: 'rolledBack', failure: rejected.failure };
}

function earliest(now: number, times: readonly (number | undefined)[]): number | null {
  const ahead = times.filter((at) => at !== undefined).filter((at) => at > now);
  return ahead.length > 0 ? Math.min(...ahead) : null;
}
