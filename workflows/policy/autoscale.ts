import type { Scaling } from '../../spec/endpoint.ts';

/** One look at an endpoint's load over all gateways. Times in milliseconds since the epoch. */
export interface Look {
  scaling: Scaling;
  /** Requests without a response status yet, held ones included. */
  pending: number;
  /** Requests sent to a replica and not yet answered to the end. */
  inFlight: number;
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
  /** The last 20 s, oldest first. */
  pending: readonly { at: number; requests: number }[];
  /** What the load asked for during the last 300 s, oldest first. */
  wanted: readonly { at: number; replicas: number }[];
  panicUntil: number;
}

export const NO_MEMORY: LoadMemory = { pending: [], wanted: [], panicUntil: 0 };

export interface Decision {
  replicas: number;
  reason: string;
}

/** Pending requests per replica and the time they are averaged over: the public API's documented default. */
const DEFAULT_PENDING = 1.5;
const STABLE_MS = 20_000;
/** Scale-down goes by the highest demand of this long (the public API's stabilisation). */
const STABILISATION_MS = 300_000;
/** A short window that asks for this many times what is ready is a burst: followed at once, and for a minute not undone. */
const PANIC_MS = 6_000;
const PANIC_FACTOR = 2;
const PANIC_HOLD_MS = 60_000;
const MINUTE_MS = 60_000;

/**
 * Looks once more at an endpoint: how many replicas should it have, or null for "as they are". The demand is absolute
 * (requests that wait ÷ requests a replica may have waiting), so replicas that are still on their way are not ordered
 * again. Never below one replica but for idleness, and never fewer while one is starting.
 */
export function autoscale(
  memory: LoadMemory,
  look: Look,
  now: number,
): { memory: LoadMemory; decision: Decision | null } {
  const pending = [
    ...memory.pending.filter((s) => now - s.at < STABLE_MS),
    { at: now, requests: look.pending },
  ];
  const threshold = pendingThreshold(look.scaling);
  const asleep = look.targetReplica === 0;
  if (asleep || look.readyReplica === 0) return { memory: { ...NO_MEMORY, pending }, decision: null };
  if (isIdle(look, now)) {
    const reason = `no request for ${look.scaling.scaleToZeroTimeout} min`;
    return { memory: NO_MEMORY, decision: { replicas: 0, reason } };
  }
  if (threshold === null) return { memory: { ...NO_MEMORY, pending }, decision: null };

  const least = Math.max(1, look.scaling.minReplica);
  const within = (replicas: number) =>
    Math.min(Math.max(Math.ceil(replicas), least), Math.max(least, look.scaling.maxReplica));
  const burst = mean(pending, PANIC_MS, now) / threshold;
  const panics = burst >= PANIC_FACTOR * look.readyReplica && within(burst) > look.targetReplica;
  const panicUntil = panics ? now + PANIC_HOLD_MS : memory.panicUntil;
  const lasting = mean(pending, STABLE_MS, now) / threshold;
  const stable = within(panics ? Math.max(burst, lasting) : lasting);
  const wanted = [
    ...memory.wanted.filter((w) => now - w.at < STABILISATION_MS),
    { at: now, replicas: stable },
  ];
  const next: LoadMemory = { pending, wanted, panicUntil };

  // The averages mean something only once the window is full, but for a burst.
  const seen = now - (pending[0]?.at ?? now) >= STABLE_MS / 2;
  if (stable > look.targetReplica && (panics || seen)) {
    return { memory: next, decision: { replicas: stable, reason: upReason(pending, threshold) } };
  }
  const settled = look.startingReplica === 0 && now >= panicUntil;
  const lookedLong = now - (wanted[0]?.at ?? now) >= STABILISATION_MS - 2 * PANIC_MS;
  const highest = Math.max(...wanted.map((w) => w.replicas));
  if (settled && lookedLong && highest < look.targetReplica) {
    return {
      memory: next,
      decision: { replicas: highest, reason: `enough for the last ${STABILISATION_MS / MINUTE_MS} min` },
    };
  }
  return { memory: next, decision: null };
}

/** Requests one replica may have waiting; null when the endpoint scales by a measure that is not taken here. */
function pendingThreshold({ measure }: Scaling): number | null {
  if (measure === null) return DEFAULT_PENDING;
  return 'pendingRequests' in measure ? (measure.pendingRequests ?? DEFAULT_PENDING) : null;
}

function isIdle({ scaling, pending, inFlight, readySince, lastRequestAt }: Look, now: number): boolean {
  if (scaling.minReplica > 0 || scaling.scaleToZeroTimeout === null) return false;
  if (pending > 0 || inFlight > 0) return false;
  return now - Math.max(readySince, lastRequestAt ?? 0) >= scaling.scaleToZeroTimeout * MINUTE_MS;
}

function mean(samples: LoadMemory['pending'], windowMs: number, now: number): number {
  const recent = samples.filter((s) => now - s.at < windowMs);
  return recent.reduce((sum, s) => sum + s.requests, 0) / Math.max(1, recent.length);
}

function upReason(samples: LoadMemory['pending'], threshold: number): string {
  return `${samples.at(-1)?.requests ?? 0} requests wait, more than ${threshold} for each replica`;
}
