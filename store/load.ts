import { sql } from 'kysely';
import type { Scaling } from '../spec/endpoint.ts';
import type { Store } from './database.ts';
import { startSeconds } from './start-times.ts';

/** One endpoint that may be scaled, with its load over all gateways. Times in milliseconds since the epoch. */
export interface MeasuredEndpoint {
  namespace: string;
  name: string;
  scaling: Scaling;
  readyReplica: number;
  targetReplica: number;
  startingReplica: number;
  /** Of CPUs or, where they have some, of GPUs: mean over the ready replicas, in percent; null when no host has said lately. */
  hardwarePercent: number | null;
  readySince: number;
  pending: number;
  inFlight: number;
  lastRequestAt: number | null;
  /** Accepted so far, over the gateways there are; falls when one has ended. */
  requests: number;
  /** What its replicas usually take from being asked for to being ready; null before the first was. */
  startSeconds: number | null;
}

/** A gateway silent for so long is gone, and its requests with it. */
const GATEWAY_FRESH = '10 seconds';
/** Hosts report usage every five seconds. */
const USAGE_FRESH = '15 seconds';

/** The load of all endpoints that serve now. One statement; what is idle costs one row. */
export async function measureLoad(store: Store): Promise<MeasuredEndpoint[]> {
  const { rows } = await sql<{
    namespace: string;
    name: string;
    scaling: Scaling;
    ready_replica: number;
    target_replica: number;
    starting_replica: number;
    hardware_percent: number | null;
    ready_since: Date | null;
    pending: number;
    in_flight: number;
    last_request_at: Date | null;
    requests: number;
    start_seconds: number | null;
  }>`
    SELECT e.namespace, e.name, e.spec->'compute'->'scaling' AS scaling, e.ready_replica, e.target_replica,
           (SELECT count(*)::int FROM replicas r WHERE r.endpoint_id = e.id
              AND r.stage IN ('downloading', 'pulling', 'initializing')) AS starting_replica,
           (SELECT avg(coalesce(r.gpu_percent, r.cpu_percent)) FROM replicas r WHERE r.endpoint_id = e.id AND r.stage = 'running'
              AND r.usage_at > now() - ${USAGE_FRESH}::interval) AS hardware_percent,
           (SELECT min(r.ready_at) FROM replicas r WHERE r.endpoint_id = e.id AND r.stopped_at IS NULL) AS ready_since,
           coalesce(sum(l.pending) FILTER (WHERE g.seen_at > now() - ${GATEWAY_FRESH}::interval), 0)::int AS pending,
           coalesce(sum((SELECT sum(v::int) FROM jsonb_each_text(l.in_flight) AS t(k, v)))
                    FILTER (WHERE g.seen_at > now() - ${GATEWAY_FRESH}::interval), 0)::int AS in_flight,
           coalesce(sum(l.requests) FILTER (WHERE g.seen_at > now() - ${GATEWAY_FRESH}::interval), 0)::bigint AS requests,
           ${startSeconds} AS start_seconds,
           -- The row of a gateway that has ended is gone; what it saw last is in last_used_at.
           greatest(max(l.last_request_at), e.last_used_at) AS last_request_at
    FROM endpoints e
    LEFT JOIN gateway_load l ON l.endpoint_id = e.id
    LEFT JOIN gateways g ON g.id = l.gateway_id
    WHERE e.phase = 'running' AND e.ready_replica > 0
    GROUP BY e.id`.execute(store);
  return rows.map((row) => ({
    namespace: row.namespace,
    name: row.name,
    scaling: row.scaling,
    readyReplica: row.ready_replica,
    targetReplica: row.target_replica,
    startingReplica: row.starting_replica,
    hardwarePercent: row.hardware_percent,
    readySince: row.ready_since?.getTime() ?? 0,
    pending: row.pending,
    inFlight: row.in_flight,
    lastRequestAt: row.last_request_at?.getTime() ?? null,
    requests: row.requests,
    startSeconds: row.start_seconds,
  }));
}
