import type { Scaling } from '../../spec/endpoint.ts';
import { enough, FLOW_MS, type Flow, learnCapacity } from './capacity.ts';

/** One look at an endpoint's load over all gateways. Times in milliseconds since the epoch. */
export interface Look {
  scaling: Scaling;
  /** Requests without a response status yet, held ones included. */
  pending: number;
  /** Accepted so far; null when that is not known, and smaller than before when a gateway has ended. */
  requests: number | null;
  /** Requests sent to a replica and not yet answered to the end. */
  inFlight: number;
  /** Mean share of their CPUs, or GPUs where they have some, that ready replicas use, in percent; null when unknown. */
  hardwarePercent: number | null;
  /** Last accepted request (refused ones do not count); null when there never was one. */
  lastRequestAt: number | null;
  readyReplica: number;
  targetReplica: number;
  /** Replicas that have a place and are on their way; one that finds none is not. */
  startingReplica: number;
  /** When the endpoint last became ready; idleness is counted from here if no request came since. */
  readySince: number;
  /** How long this endpoint's replicas take from being ordered to being ready; null before the first has. */
  startSeconds: number | null;
}

/** What has to be remembered of earlier looks. */
export interface LoadMemory {
  /** How many replicas the load of that moment would fill; the last minute at most, oldest first. */
  load: readonly { at: number; replicas: number }[];
  /** What the load asked for, as far back as scale-down looks, oldest first. */
  wanted: readonly { at: number; replicas: number }[];
  panicUntil: number;
  /** The last ten seconds of requests. */
  flow: readonly Flow[];
  /** Requests a replica answers in a second under full load, as far as that was seen. */
  each: number | null;
  /** When replicas were last ordered. */
  orderedAt: number;
}

export const NO_MEMORY: LoadMemory = {
  load: [],
  wanted: [],
  panicUntil: 0,
  flow: [],
  each: null,
  orderedAt: 0,
};

export interface Decision {
  replicas: number;
  reason: string;
}

/** The public API's documented defaults: requests that wait for each replica over 20 s, percent of CPU over a minute. */
const PENDING = { threshold: 1.5, windowMs: 20_000 };
const USAGE = { threshold: 80, windowMs: 60_000 };
/**
 * Scale-down goes by the highest demand of so long: three times what it takes to get a replica back; five minutes, the public
 * API's number, at most and while that is not known.
 */
const STABILISATION = { mostMs: 300_000, leastMs: 50_000, startTimes: 3 };
/** The documented window is short, and its average swings: by itself it counts from so far above the target on. */
const TOLERANCE = 1.2;
/** A short window that asks for this many times what is ready is a burst: followed at once, and for a while not undone. */
const PANIC_MS = 3_000;
const PANIC_FACTOR = 2;
const PANIC_HOLD_MS = 45_000;
const MINUTE_MS = 60_000;

/**
 * Looks once more at an endpoint: how many replicas should it have, or null for "as they are". The demand is absolute
 * (the load ÷ what one replica may have of it), so replicas that are still on their way are not ordered again. Never
 * below one replica but for idleness, and never fewer while one is starting.
 */
export function autoscale(
  memory: LoadMemory,
  look: Look,
  now: number,
): { memory: LoadMemory; decision: Decision | null } {
  if (look.targetReplica === 0 || look.readyReplica === 0) return { memory: NO_MEMORY, decision: null };
  if (isIdle(look, now)) {
    const reason = `no request for ${look.scaling.scaleToZeroTimeout} min`;
    return { memory: NO_MEMORY, decision: { replicas: 0, reason } };
  }
  const measured = measure(look);
  if (!measured) return { memory, decision: null };
  const { windowMs, reason } = measured;
  const load = [...recent(memory.load, MINUTE_MS, now), { at: now, replicas: measured.replicas }];
  const flow = flowOf(memory.flow, look, now);
  const each = measured.fullLoad === null ? null : learnCapacity(memory.each, flow, measured.fullLoad);

  const least = Math.max(1, look.scaling.minReplica);
  const most = Math.max(least, look.scaling.maxReplica);
  const within = (replicas: number) => Math.min(Math.max(Math.ceil(replicas), least), most);
  const burst = mean(load, PANIC_MS, now);
  const panics = burst >= PANIC_FACTOR * look.readyReplica && within(burst) > look.targetReplica;
  const panicUntil = panics ? now + PANIC_HOLD_MS : memory.panicUntil;
  // An average means something only once its window is half full, but for a burst.
  const seen = (ms: number) => now - (load[0]?.at ?? now) >= ms / 2;
  const lately = mean(load, windowMs, now);
  const lasting = mean(load, MINUTE_MS, now);
  const asks = [
    panics ? burst : 0,
    seen(windowMs) && lately > TOLERANCE * look.targetReplica ? lately : 0,
    seen(MINUTE_MS) ? lasting : 0,
  ];
  const useful = usefulAt(flow, { ...memory, each }, look, now);
  const wants = Math.min(within(Math.max(...asks)), Math.max(look.targetReplica, within(useful)));
  const holdMs = holdOf(look.startSeconds);
  const wanted = [...recent(memory.wanted, holdMs, now), { at: now, replicas: within(lately) }];
  const next: LoadMemory = { ...memory, load, wanted, panicUntil, flow, each };

  if (wants > look.targetReplica)
    return { memory: { ...next, orderedAt: now }, decision: { replicas: wants, reason } };
  const settled = look.startingReplica === 0 && now >= panicUntil;
  const lookedLong = now - (wanted[0]?.at ?? now) >= holdMs - 2 * PANIC_MS;
  const highest = Math.max(...wanted.map((w) => w.replicas));
  if (settled && lookedLong && highest < look.targetReplica) {
    const why = `enough for the last ${Math.round(holdMs / 1000)} s`;
    return { memory: next, decision: { replicas: highest, reason: why } };
  }
  return { memory: next, decision: null };
}

/** How long a replica is kept that is not needed, because the next need for it may come soon. */
function holdOf(startSeconds: number | null): number {
  const { mostMs, leastMs, startTimes } = STABILISATION;
  if (startSeconds === null) return mostMs;
  return Math.min(Math.max(startTimes * startSeconds * 1000, leastMs), mostMs);
}

/** More than so many would come too late to be of use; unbounded where that cannot be told. */
function usefulAt(flow: readonly Flow[], memory: LoadMemory, look: Look, now: number): number {
  const { startSeconds, startingReplica } = look;
  const { each, orderedAt } = memory;
  if (startSeconds === null || each === null) return Number.POSITIVE_INFINITY;
  const othersReadyAt = orderedAt + startSeconds * 1000;
  const ahead = { each, starting: startingReplica, startSeconds, othersReadyAt, now };
  return enough(flow, ahead) ?? Number.POSITIVE_INFINITY;
}

/** Begins anew where the count has fallen. */
function flowOf(before: readonly Flow[], look: Look, now: number): readonly Flow[] {
  const { pending, requests, readyReplica: ready } = look;
  const last = before.at(-1);
  if (requests === null || (last && last.requests > requests)) return [];
  return [...recent(before, FLOW_MS + 1, now), { at: now, pending, requests, ready }];
}

/**
 * The load by the endpoint's own measure, in replicas it would fill; null when it is not known at the moment. `fullLoad`: how
 * many requests keep a replica at its threshold, where the measure counts them.
 */
function measure({ scaling, pending, hardwarePercent, readyReplica }: Look) {
  const by = scaling.measure ?? { pendingRequests: null };
  if ('pendingRequests' in by) {
    const threshold = by.pendingRequests ?? PENDING.threshold;
    const reason = `${pending} requests wait; a replica may have ${threshold}`;
    return { replicas: pending / threshold, windowMs: PENDING.windowMs, fullLoad: threshold, reason };
  }
  if (hardwarePercent === null) return null;
  const threshold = by.hardwareUsage ?? USAGE.threshold;
  const reason = `${Math.round(hardwarePercent)} % of the hardware in use; the limit is ${threshold} %`;
  return {
    replicas: (readyReplica * hardwarePercent) / threshold,
    windowMs: USAGE.windowMs,
    fullLoad: null,
    reason,
  };
}

function isIdle({ scaling, pending, inFlight, readySince, lastRequestAt }: Look, now: number): boolean {
  if (scaling.minReplica > 0 || scaling.scaleToZeroTimeout === null) return false;
  if (pending > 0 || inFlight > 0) return false;
  return now - Math.max(readySince, lastRequestAt ?? 0) >= scaling.scaleToZeroTimeout * MINUTE_MS;
}

function recent<T extends { at: number }>(samples: readonly T[], windowMs: number, now: number): T[] {
  return samples.filter((s) => now - s.at < windowMs);
}

function mean(samples: LoadMemory['load'], windowMs: number, now: number): number {
  const within = recent(samples, windowMs, now);
  return within.reduce((sum, s) => sum + s.replicas, 0) / Math.max(1, within.length);
}
