import type { Scaling } from '../../spec/endpoint.ts';

/** One look at an endpoint's load over all gateways. Times in milliseconds since the epoch. */
export interface Look {
  scaling: Scaling;
  /** Requests without a response status yet, held ones included. */
  pending: number;
  /** Requests sent to a replica and not yet answered to the end. */
  inFlight: number;
  /** Mean share of their CPUs that ready replicas use, in percent; null when unknown. */
  cpuPercent: number | null;
  /** Last accepted request (refused ones do not count); null when there never was one. */
  lastRequestAt: number | null;
  readyReplica: number;
  targetReplica: number;
  /** Replicas that have a place and are on their way; one that finds none is not. */
  startingReplica: number;
  /** When the endpoint last became ready; idleness is counted from here if no request came since. */
  readySince: number;
}

/** What has to be remembered of earlier looks. */
export interface LoadMemory {
  /** How many replicas the load of that moment would fill; the last minute at most, oldest first. */
  load: readonly { at: number; replicas: number }[];
  /** What the load asked for during the last 300 s, oldest first. */
  wanted: readonly { at: number; replicas: number }[];
  panicUntil: number;
}

export const NO_MEMORY: LoadMemory = { load: [], wanted: [], panicUntil: 0 };

export interface Decision {
  replicas: number;
  reason: string;
}

/** The public API's documented defaults: requests that wait for each replica over 20 s, percent of CPU over a minute. */
const PENDING = { threshold: 1.5, windowMs: 20_000 };
const USAGE = { threshold: 80, windowMs: 60_000 };
/** Scale-down goes by the highest demand of this long (the public API's stabilisation). */
const STABILISATION_MS = 300_000;
/** A short window that asks for this many times what is ready is a burst: followed at once, and for a minute not undone. */
const PANIC_MS = 6_000;
const PANIC_FACTOR = 2;
const PANIC_HOLD_MS = 60_000;
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
  const { windowMs } = measured;
  const load = [
    ...memory.load.filter((s) => now - s.at < windowMs),
    { at: now, replicas: measured.replicas },
  ];

  const least = Math.max(1, look.scaling.minReplica);
  const most = Math.max(least, look.scaling.maxReplica);
  const within = (replicas: number) => Math.min(Math.max(Math.ceil(replicas), least), most);
  const burst = mean(load, PANIC_MS, now);
  const panics = burst >= PANIC_FACTOR * look.readyReplica && within(burst) > look.targetReplica;
  const panicUntil = panics ? now + PANIC_HOLD_MS : memory.panicUntil;
  const lasting = mean(load, windowMs, now);
  const wants = within(panics ? Math.max(burst, lasting) : lasting);
  const wanted = [
    ...memory.wanted.filter((w) => now - w.at < STABILISATION_MS),
    { at: now, replicas: wants },
  ];
  const next: LoadMemory = { load, wanted, panicUntil };

  // An average means something only once its window is half full, but for a burst.
  const seen = now - (load[0]?.at ?? now) >= windowMs / 2;
  if (wants > look.targetReplica && (panics || seen)) {
    return { memory: next, decision: { replicas: wants, reason: measured.reason } };
  }
  const settled = look.startingReplica === 0 && now >= panicUntil;
  const lookedLong = now - (wanted[0]?.at ?? now) >= STABILISATION_MS - 2 * PANIC_MS;
  const highest = Math.max(...wanted.map((w) => w.replicas));
  if (settled && lookedLong && highest < look.targetReplica) {
    const reason = `enough for the last ${STABILISATION_MS / MINUTE_MS} min`;
    return { memory: next, decision: { replicas: highest, reason } };
  }
  return { memory: next, decision: null };
}

/** The load by the endpoint's own measure, in replicas it would fill; null when it is not known at the moment. */
function measure({ scaling, pending, cpuPercent, readyReplica }: Look) {
  const by = scaling.measure ?? { pendingRequests: null };
  if ('pendingRequests' in by) {
    const threshold = by.pendingRequests ?? PENDING.threshold;
    const reason = `${pending} requests wait; a replica may have ${threshold}`;
    return { replicas: pending / threshold, windowMs: PENDING.windowMs, reason };
  }
  if (cpuPercent === null) return null;
  const threshold = by.hardwareUsage ?? USAGE.threshold;
  const reason = `${Math.round(cpuPercent)} % of CPU in use; the limit is ${threshold} %`;
  return { replicas: (readyReplica * cpuPercent) / threshold, windowMs: USAGE.windowMs, reason };
}

function isIdle({ scaling, pending, inFlight, readySince, lastRequestAt }: Look, now: number): boolean {
  if (scaling.minReplica > 0 || scaling.scaleToZeroTimeout === null) return false;
  if (pending > 0 || inFlight > 0) return false;
  return now - Math.max(readySince, lastRequestAt ?? 0) >= scaling.scaleToZeroTimeout * MINUTE_MS;
}

function mean(samples: LoadMemory['load'], windowMs: number, now: number): number {
  const recent = samples.filter((s) => now - s.at < windowMs);
  return recent.reduce((sum, s) => sum + s.replicas, 0) / Math.max(1, recent.length);
}
