import { sql } from 'kysely';
import type { Store } from './database.ts';

/** What a gateway has let through of one limited key since it knows the key, has in hand, and believes to be left. */
export interface LimitCount {
  key: string;
  requests: number;
  tokens: number;
  concurrent: number;
  requestsLeft: number | null;
  tokensLeft: number | null;
}

/** A gateway silent for so long has nothing in hand any more. */
const SILENT_SECONDS = 10;

/** Tells what this gateway has let through. It must be known (`reportGateway`); its rows go with it. */
export async function reportLimitCounts(
  store: Store,
  gatewayId: string,
  counts: readonly LimitCount[],
): Promise<void> {
  await sql`
    INSERT INTO limit_counts (gateway_id, key, requests, tokens, concurrent, requests_left, tokens_left)
    SELECT ${gatewayId}, c.key, c.requests, c.tokens, c.concurrent, c."requestsLeft", c."tokensLeft"
    FROM jsonb_to_recordset(${JSON.stringify(counts)}::jsonb) AS c(key text, requests double precision,
      tokens double precision, concurrent integer, "requestsLeft" double precision, "tokensLeft" double precision)
    ON CONFLICT (gateway_id, key) DO UPDATE SET requests = excluded.requests, tokens = excluded.tokens,
      concurrent = excluded.concurrent, requests_left = excluded.requests_left,
      tokens_left = excluded.tokens_left, reported_at = now()`.execute(store);
}

/** What the other gateways that live have said of these keys. */
export async function readLimitCounts(
  store: Store,
  gatewayId: string,
  keys: readonly string[],
): Promise<(LimitCount & { gatewayId: string; ageMs: number })[]> {
  const { rows } = await sql<LimitCount & { gatewayId: string; ageMs: number }>`
    SELECT c.gateway_id AS "gatewayId", c.key, c.requests, c.tokens, c.concurrent,
      c.requests_left AS "requestsLeft", c.tokens_left AS "tokensLeft",
      (extract(epoch FROM now() - c.reported_at) * 1000)::double precision AS "ageMs"
    FROM limit_counts c JOIN gateways g ON g.id = c.gateway_id
    WHERE c.key = ANY(${keys}::text[]) AND c.gateway_id <> ${gatewayId}
      AND g.seen_at > now() - make_interval(secs => ${SILENT_SECONDS})`.execute(store);
  return rows;
}
