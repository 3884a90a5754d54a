import type { Scaling } from '../../spec/endpoint.ts';

/** The load of one endpoint over all gateways. */
export interface Load {
  /** Requests without a response status yet, held ones included. */
  pending: number;
  /** Requests sent to a replica and not yet answered to the end. */
  inFlight: number;
  /** Last accepted request (refused ones do not count); null when there never was one. Milliseconds since the epoch. */
  lastRequestAt: number | null;
}

export interface ScaleInput {
  scaling: Scaling;
  load: Load;
  readyReplica: number;
  targetReplica: number;
  /** When the endpoint last became ready; idleness is counted from here if no request came since. */
  readySince: number;
}

const MINUTE_MS = 60_000;

/**
 * How many replicas the load asks for, or null for "as they are". So far one rule: an endpoint that may sleep and has
 * served no request for `scaleToZeroTimeout` minutes goes to zero; one with a request in flight never does.
 */
export function autoscale(input: ScaleInput, now: number): { replicas: number; reason: string } | null {
  const { scaling, load } = input;
  if (scaling.minReplica > 0 || scaling.scaleToZeroTimeout === null) return null;
  if (input.targetReplica === 0 || input.readyReplica === 0) return null;
  if (load.pending > 0 || load.inFlight > 0) return null;
  const idleMs = now - Math.max(input.readySince, load.lastRequestAt ?? 0);
  if (idleMs < scaling.scaleToZeroTimeout * MINUTE_MS) return null;
  return { replicas: 0, reason: `no request for ${scaling.scaleToZeroTimeout} min` };
}
