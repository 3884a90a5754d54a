import type { Desired, Projection, ReplicaView } from '../../spec/lifecycle.ts';
import { isFinal } from '../../spec/states.ts';
import { countFailure, type FailureStreak } from './failures.ts';
import type { Plan } from './plan.ts';
import { learn, type Rejection, type Verdict } from './rollout.ts';
import { newReplica } from './view.ts';

/** What an endpoint remembers from one run to the next; plain JSON. */
export interface EndpointMemory {
  v: 1;
  endpointId: string;
  phase: Desired['phase'];
  generation: number;
  /** The last forced scale to zero that was obeyed. */
  sleepGeneration: number;
  target: number;
  nextNumber: number;
  replicas: ReplicaView[];
  /** Failures of the wanted revision. */
  streak: FailureStreak | null;
  published: Projection | null;
  /** The newest revision that has served alone: what is gone back to when the wanted one cannot start. */
  stable?: number | null;
  /** Failures of the stable revision while the wanted one has failed. */
  stableStreak?: FailureStreak | null;
  /** The newest revision that was watched and found good. */
  approved?: number | null;
  /** The wanted revision, found bad: the stable one serves until the next write. */
  rejected?: Rejection | null;
}

/** What signals said since the last round. */
export interface News {
  /** A request waits. */
  woken: boolean;
  /** How many replicas the load asks for; null when the autoscaler said nothing. */
  asked: number | null;
  views: readonly ReplicaView[];
  /** What the watch on a new revision came to; absent: nothing yet. */
  verdict?: Verdict | null;
  /** The rules for failures; false where a version that did not know the rule is replayed. */
  retriesOnce: boolean;
  slowCrashes: boolean;
}

/**
 * Takes a freshly read wish in: first sight, a new generation, or nothing new. Without memory (first run, or Temporal's
 * database was lost) the store's projection is where to go on from.
 */
export function adopt(known: EndpointMemory | null, desired: Desired): EndpointMemory {
  const { endpointId, phase, generation, sleepGeneration, minReplica, maxReplica } = desired;
  const awake = Math.max(1, minReplica);
  if (known?.endpointId !== endpointId) {
    const fresh = desired.lastReplicaNumber === 0 && sleepGeneration === 0;
    const served = desired.liveReplicas.filter((r) => r.readyAt !== null && r.revision < desired.revision);
    return {
      v: 1,
      endpointId,
      phase,
      generation,
      sleepGeneration,
      target: fresh ? awake : desired.targetReplica,
      nextNumber: desired.lastReplicaNumber + 1,
      replicas: desired.liveReplicas.map((r) => ({ ...r })),
      streak: null,
      published: null,
      stable: served.length > 0 ? Math.max(...served.map((r) => r.revision)) : null,
      stableStreak: null,
    };
  }
  let target = known.phase === 'paused' && phase === 'running' ? awake : known.target;
  if (sleepGeneration > known.sleepGeneration) target = 0;
  else if (target > 0) target = Math.min(Math.max(target, minReplica), Math.max(maxReplica, 1));
  const written = generation !== known.generation;
  return {
    ...known,
    phase,
    generation,
    sleepGeneration,
    target,
    streak: written ? null : known.streak,
    stableStreak: written ? null : (known.stableStreak ?? null),
    // A forced sleep asks for nothing new.
    rejected: written && sleepGeneration !== generation ? null : (known.rejected ?? null),
  };
}

/** Takes in what replicas, gateway and autoscaler said. From zero only a request wakes, not a figure from before. */
export function hear(memory: EndpointMemory, desired: Desired, news: News, now: number): EndpointMemory {
  const heard = news.views.reduce((so, view) => absorb(so, desired, view, now, news), memory);
  let { target } = heard;
  if (news.asked !== null && target > 0)
    target = Math.min(Math.max(news.asked, desired.minReplica), desired.maxReplica);
  if (news.woken && target === 0 && desired.phase === 'running') target = Math.max(1, desired.minReplica);
  return { ...heard, target, ...learn(desired, news.verdict ?? null) };
}

/** One report of one replica. */
function absorb(
  memory: EndpointMemory,
  desired: Desired,
  view: ReplicaView,
  now: number,
  { retriesOnce, slowCrashes }: News,
): EndpointMemory {
  const known = memory.replicas.find((r) => r.number === view.number);
  if (!known) return memory;
  // It reached its rest after it had been asked to wake: it will say how that goes.
  if (view.stage === 'standby' && !known.resting) return memory;
  const kept = { stopping: known.stopping, readyAt: view.readyAt ?? known.readyAt };
  const others = memory.replicas.filter((r) => r !== known);
  if (!isFinal(view.stage)) {
    const replicas = memory.replicas.map((r) => (r === known ? { ...known, ...view, ...kept } : r));
    const { streak } = memory;
    const settled =
      view.stage === 'running' &&
      !view.unreachable &&
      streak?.revision === view.revision &&
      !streak.exhausted;
    return { ...memory, replicas, streak: settled ? { ...streak, nextStartAt: 0 } : streak };
  }
  const after = { ...memory, replicas: others };
  const rules = { nextNumber: retriesOnce ? memory.nextNumber : null, slowCrashes };
  if (!view.failure || known.stopping) return after;
  if (view.revision === desired.revision && memory.rejected?.revision !== view.revision)
    return { ...after, streak: countFailure(memory.streak, view, view.failure, desired.limits, now, rules) };
  const onHold = memory.streak?.exhausted || memory.rejected;
  if (view.revision !== memory.stable || !onHold) return after;
  const before = memory.stableStreak ?? null;
  return { ...after, stableStreak: countFailure(before, view, view.failure, desired.limits, now, rules) };
}

/** The memory once a plan is carried out: who was told what, what was started, what is proven. */
export function carryOut(memory: EndpointMemory, next: Plan, now: number): EndpointMemory {
  const replicas = memory.replicas.map((r) => tell(r, next, now));
  for (let i = 0; i < next.start; i += 1)
    replicas.push(newReplica(memory.nextNumber + i, next.revision, now));
  return {
    ...memory,
    replicas,
    nextNumber: memory.nextNumber + next.start,
    stable: next.proven ?? memory.stable ?? null,
  };
}

function tell(replica: ReplicaView, { stop, wake, madeRoomFor }: Plan, now: number): ReplicaView {
  const { number } = replica;
  const told = stop.find((s) => s.number === number);
  if (told) return { ...replica, ...(told.standby ? { resting: told.standby } : { stopping: true }) };
  if (wake.includes(number))
    return { ...replica, resting: undefined, stage: 'initializing', message: 'waking', stageSince: now };
  return number === madeRoomFor ? { ...replica, granted: true } : replica;
}
