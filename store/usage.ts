import { sql } from 'kysely';
import type { Store } from './database.ts';

/** Requests of one token at one endpoint that ended in one minute with one status from one replica. */
export interface UsageMinute {
  endpointId: string;
  namespace: string;
  /** The endpoint's name. */
  endpoint: string;
  /** Its beginning, in milliseconds since the epoch. */
  minute: number;
  /** '' without a token. */
  tokenId: string;
  /** '' when no replica was asked. */
  replicaId: string;
  /** 0 when the client left before there was one. */
  status: number;
  requests: number;
  durationMs: number;
  /** How many by the classes of `spec/histogram.ts`. */
  durations: number[];
  firstByteMs: number;
  firstBytes: number[];
  requestBytes: number;
  responseBytes: number;
  promptTokens: number;
  completionTokens: number;
}

/** Requests in hand during one minute, as milliseconds of all of them together. */
export interface LoadMinute {
  endpointId: string;
  minute: number;
  tokenId: string;
  inFlightMs: number;
  pendingMs: number;
}

export interface UsageBatch {
  gatewayId: string;
  /** 1, 2, 3 … of this gateway. */
  batch: number;
  usage: readonly UsageMinute[];
  load: readonly LoadMinute[];
}

/** Adds a batch to what is stored. One that was counted before changes nothing, so it may be told again. */
export async function reportUsage(
  store: Store,
  { gatewayId, batch, usage, load }: UsageBatch,
): Promise<void> {
  await store.transaction().execute(async (tx) => {
    const { rows } = await sql`
      INSERT INTO usage_batches (gateway_id, batch) VALUES (${gatewayId}, ${batch})
      ON CONFLICT (gateway_id) DO UPDATE SET batch = excluded.batch, counted_at = now()
        WHERE usage_batches.batch < excluded.batch RETURNING batch`.execute(tx);
    if (rows.length === 0) return;
    // In the order of the key, so that two gateways never wait for each other.
    if (usage.length > 0)
      await sql`
        INSERT INTO usage_minutes AS m (endpoint_id, minute, token_id, replica_id, status, namespace, endpoint,
          requests, duration_ms, durations, first_byte_ms, first_bytes, request_bytes, response_bytes, prompt_tokens,
          completion_tokens)
        SELECT u."endpointId", to_timestamp(u.minute / 1000.0), u."tokenId", u."replicaId", u.status, u.namespace,
          u.endpoint, u.requests, u."durationMs", u.durations, u."firstByteMs", u."firstBytes", u."requestBytes",
          u."responseBytes", u."promptTokens", u."completionTokens"
        FROM jsonb_to_recordset(${JSON.stringify(usage)}::jsonb) AS u("endpointId" uuid, minute bigint,
          "tokenId" text, "replicaId" text, status integer, namespace text, endpoint text, requests bigint,
          "durationMs" double precision, durations bigint[], "firstByteMs" double precision, "firstBytes" bigint[],
          "requestBytes" bigint, "responseBytes" bigint, "promptTokens" bigint, "completionTokens" bigint)
        ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (endpoint_id, minute, token_id, replica_id, status) DO UPDATE SET
          requests = m.requests + excluded.requests,
          duration_ms = m.duration_ms + excluded.duration_ms,
          durations = add_counts(m.durations, excluded.durations),
          first_byte_ms = m.first_byte_ms + excluded.first_byte_ms,
          first_bytes = add_counts(m.first_bytes, excluded.first_bytes),
          request_bytes = m.request_bytes + excluded.request_bytes,
          response_bytes = m.response_bytes + excluded.response_bytes,
          prompt_tokens = m.prompt_tokens + excluded.prompt_tokens,
          completion_tokens = m.completion_tokens + excluded.completion_tokens`.execute(tx);
    if (load.length > 0)
      await sql`
        INSERT INTO load_minutes AS m (endpoint_id, minute, token_id, in_flight_ms, pending_ms)
        SELECT l."endpointId", to_timestamp(l.minute / 1000.0), l."tokenId", l."inFlightMs", l."pendingMs"
        FROM jsonb_to_recordset(${JSON.stringify(load)}::jsonb) AS l("endpointId" uuid, minute bigint, "tokenId" text,
          "inFlightMs" double precision, "pendingMs" double precision)
        ORDER BY 1, 2, 3
        ON CONFLICT (endpoint_id, minute, token_id) DO UPDATE SET
          in_flight_ms = m.in_flight_ms + excluded.in_flight_ms,
          pending_ms = m.pending_ms + excluded.pending_ms`.execute(tx);
  });
}

/** A span of time; minutes that begin in it count. */
export interface Span {
  from: Date;
  to: Date;
}

export interface UsageByStatus {
  /** Beginning of the step. */
  at: Date;
  status: number;
  requests: number;
}

/** Requests of an endpoint by status, in steps of `stepSeconds`. Steps without a request are left out. */
export async function usageByStatus(
  store: Store,
  endpointId: string,
  { from, to }: Span,
  stepSeconds: number,
): Promise<UsageByStatus[]> {
  const { rows } = await sql<UsageByStatus>`
    SELECT ${step(stepSeconds)} AS at, status, sum(requests)::bigint AS requests
    FROM usage_minutes WHERE endpoint_id = ${endpointId} AND minute >= ${from} AND minute < ${to}
    GROUP BY 1, 2 ORDER BY 1, 2`.execute(store);
  return rows;
}

/** Counted times of an endpoint's answers, in steps. */
export async function usageDurations(
  store: Store,
  endpointId: string,
  { from, to }: Span,
  stepSeconds: number,
): Promise<{ at: Date; durations: number[] }[]> {
  const { rows } = await sql<{ at: Date; durations: number[] }>`
    SELECT ${step(stepSeconds)} AS at, sum_counts(durations) AS durations
    FROM usage_minutes WHERE endpoint_id = ${endpointId} AND minute >= ${from} AND minute < ${to} AND status > 0
    GROUP BY 1 ORDER BY 1`.execute(store);
  return rows;
}

/** Mean numbers of an endpoint's requests in hand, in steps. */
export async function usageLoad(
  store: Store,
  endpointId: string,
  { from, to }: Span,
  stepSeconds: number,
): Promise<{ at: Date; inFlight: number; pending: number }[]> {
  const { rows } = await sql<{ at: Date; inFlight: number; pending: number }>`
    SELECT ${step(stepSeconds)} AS at, sum(in_flight_ms) / ${stepSeconds * 1000} AS "inFlight",
      sum(pending_ms) / ${stepSeconds * 1000} AS pending
    FROM load_minutes WHERE endpoint_id = ${endpointId} AND minute >= ${from} AND minute < ${to}
    GROUP BY 1 ORDER BY 1`.execute(store);
  return rows;
}

export interface TokenUsage {
  /** '' for requests without a token. */
  tokenId: string;
  /** As its owner called it; null without a token, or when it is gone. */
  tokenName: string | null;
  userName: string | null;
  requests: number;
  /** By status as text, `0` for clients that left before there was one. */
  byStatus: Record<string, number>;
  durationMs: number;
  durations: number[];
  firstByteMs: number;
  firstBytes: number[];
  requestBytes: number;
  responseBytes: number;
  promptTokens: number;
  completionTokens: number;
  inFlightMs: number;
  pendingMs: number;
}

/** What each token has used of an endpoint, those that used most first. */
export async function usageByToken(
  store: Store,
  endpointId: string,
  { from, to }: Span,
): Promise<TokenUsage[]> {
  const { rows } = await sql<TokenUsage>`
    WITH by_status AS (
      SELECT token_id, status, sum(requests)::bigint AS requests, sum(duration_ms) AS duration_ms,
        sum_counts(durations) AS durations, sum(first_byte_ms) AS first_byte_ms, sum_counts(first_bytes) AS first_bytes,
        sum(request_bytes)::bigint AS request_bytes, sum(response_bytes)::bigint AS response_bytes,
        sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens
      FROM usage_minutes WHERE endpoint_id = ${endpointId} AND minute >= ${from} AND minute < ${to}
      GROUP BY token_id, status
    ), usage AS (
      SELECT token_id, sum(requests)::bigint AS requests, jsonb_object_agg(status, requests) AS by_status,
        sum(duration_ms) AS duration_ms, sum_counts(durations) AS durations, sum(first_byte_ms) AS first_byte_ms,
        sum_counts(first_bytes) AS first_bytes, sum(request_bytes)::bigint AS request_bytes,
        sum(response_bytes)::bigint AS response_bytes, sum(prompt_tokens)::bigint AS prompt_tokens,
        sum(completion_tokens)::bigint AS completion_tokens
      FROM by_status GROUP BY token_id
    ), load AS (
      SELECT token_id, sum(in_flight_ms) AS in_flight_ms, sum(pending_ms) AS pending_ms
      FROM load_minutes WHERE endpoint_id = ${endpointId} AND minute >= ${from} AND minute < ${to}
      GROUP BY token_id
    )
    SELECT token_id AS "tokenId", t.name AS "tokenName", u.name AS "userName", coalesce(usage.requests, 0) AS requests,
      coalesce(by_status, '{}') AS "byStatus", coalesce(duration_ms, 0) AS "durationMs",
      coalesce(durations, '{}') AS durations, coalesce(first_byte_ms, 0) AS "firstByteMs",
      coalesce(first_bytes, '{}') AS "firstBytes", coalesce(request_bytes, 0) AS "requestBytes",
      coalesce(response_bytes, 0) AS "responseBytes", coalesce(prompt_tokens, 0) AS "promptTokens",
      coalesce(completion_tokens, 0) AS "completionTokens", coalesce(in_flight_ms, 0) AS "inFlightMs",
      coalesce(pending_ms, 0) AS "pendingMs"
    FROM usage FULL JOIN load USING (token_id)
    LEFT JOIN tokens t ON t.id::text = token_id LEFT JOIN users u ON u.id = t.user_id
    ORDER BY 4 DESC, 1`.execute(store);
  return rows;
}

/** More are left for the next time: no statement may take long. */
const FORGET_AT_ONCE = 20_000;

/** Removes minutes that are older, and the numbers of gateways that have long ended. Returns how many rows went. */
export async function forgetUsage(store: Store, olderThanDays: number): Promise<number> {
  let removed = 0;
  for (const [table, time] of [
    ['usage_minutes', 'minute'],
    ['load_minutes', 'minute'],
    ['usage_batches', 'counted_at'],
  ] as const) {
    const { numAffectedRows } = await sql`
      DELETE FROM ${sql.table(table)} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM ${sql.table(table)}
        WHERE ${sql.ref(time)} < now() - make_interval(days => ${olderThanDays}) LIMIT ${FORGET_AT_ONCE}))`.execute(
      store,
    );
    removed += Number(numAffectedRows ?? 0);
  }
  return removed;
}

function step(seconds: number) {
  return sql`date_bin(make_interval(secs => ${seconds}), minute, 'epoch'::timestamptz)`;
}
