import { sql } from 'kysely';
import type { EngineMetrics } from '../spec/metrics.ts';
import type { ReplicaStage } from '../spec/states.ts';
import type { Store } from './database.ts';

/** Hosts report every ten seconds; what is older says nothing about now. */
const ENGINE_FRESH = sql`interval '45 seconds'`;
const USAGE_FRESH = sql`interval '15 seconds'`;
const GATEWAY_FRESH = sql`interval '10 seconds'`;

/** What engines on this host said of themselves; replicas that are not there any more are passed over. */
export async function reportEngineMetrics(
  store: Store,
  hostId: string,
  replicas: readonly { replicaId: string; metrics: EngineMetrics }[],
): Promise<void> {
  await sql`
    INSERT INTO engine_metrics (replica_id, metrics)
    SELECT r.id, u.metrics
    FROM jsonb_to_recordset(${JSON.stringify(replicas)}::jsonb) AS u("replicaId" text, metrics jsonb)
    JOIN replicas r ON r.id = u."replicaId" AND r.host_id = ${hostId} AND r.stopped_at IS NULL
    ON CONFLICT (replica_id) DO UPDATE SET metrics = excluded.metrics, reported_at = now()`.execute(store);
}

/** One replica that is not over, with the numbers there are of it now; null where nobody has said lately. */
export interface MeasuredReplica {
  id: string;
  stage: ReplicaStage;
  cpuPercent: number | null;
  gpuPercent: number | null;
  inFlight: number;
  engine: EngineMetrics | null;
}

export async function measureReplicas(store: Store, endpointId: string): Promise<MeasuredReplica[]> {
  const { rows } = await sql<MeasuredReplica>`
    SELECT r.id, r.stage,
           CASE WHEN r.usage_at > now() - ${USAGE_FRESH} THEN r.cpu_percent END AS "cpuPercent",
           CASE WHEN r.usage_at > now() - ${USAGE_FRESH} THEN r.gpu_percent END AS "gpuPercent",
           (SELECT coalesce(sum((l.in_flight->>r.id)::int), 0)::int FROM gateway_load l
              JOIN gateways g ON g.id = l.gateway_id AND g.seen_at > now() - ${GATEWAY_FRESH}
              WHERE l.endpoint_id = r.endpoint_id) AS "inFlight",
           CASE WHEN m.reported_at > now() - ${ENGINE_FRESH} THEN m.metrics END AS engine
    FROM replicas r LEFT JOIN engine_metrics m ON m.replica_id = r.id
    WHERE r.endpoint_id = ${endpointId} AND r.stopped_at IS NULL
    ORDER BY r.number`.execute(store);
  return rows;
}

/** Requests of an endpoint that no replica has answered yet, over all gateways. */
export async function pendingRequests(store: Store, endpointId: string): Promise<number> {
  const { rows } = await sql<{ pending: number }>`
    SELECT coalesce(sum(l.pending), 0)::int AS pending FROM gateway_load l
    JOIN gateways g ON g.id = l.gateway_id AND g.seen_at > now() - ${GATEWAY_FRESH}
    WHERE l.endpoint_id = ${endpointId}`.execute(store);
  return rows[0]?.pending ?? 0;
}

/** What the gateways counted of one replica since it began. */
export interface ReplicaAnswers {
  replicaId: string;
  status: number;
  requests: number;
  durationMs: number;
  durations: number[];
}

/** Answers of the replicas that are not over, by status, since each of them began. */
export async function replicaAnswers(store: Store, endpointId: string): Promise<ReplicaAnswers[]> {
  const { rows } = await sql<ReplicaAnswers>`
    SELECT u.replica_id AS "replicaId", u.status, sum(u.requests)::bigint AS requests,
           sum(u.duration_ms) AS "durationMs", sum_counts(u.durations) AS durations
    FROM replicas r JOIN usage_minutes u ON u.endpoint_id = r.endpoint_id AND u.replica_id = r.id
      AND u.minute >= r.created_at - interval '1 minute' AND u.status > 0
    WHERE r.endpoint_id = ${endpointId} AND r.stopped_at IS NULL
    GROUP BY u.replica_id, u.status ORDER BY u.replica_id, u.status`.execute(store);
  return rows;
}
