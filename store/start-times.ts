import { type RawBuilder, sql } from 'kysely';

/** So many of the last starts tell how long the next will take. */
const STARTS = 8;

/**
 * How long replicas of endpoint `e` take from being asked for to being ready, in seconds: the median of the last starts, so
 * that one that fetched weights or waited for room does not speak for all. Null before the first.
 */
export const startSeconds: RawBuilder<number | null> = sql`(
  SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s.seconds)
  FROM (SELECT extract(epoch FROM r.ready_at - r.created_at)::float8 AS seconds FROM replicas r
        WHERE r.endpoint_id = e.id AND r.ready_at IS NOT NULL ORDER BY r.number DESC LIMIT ${STARTS}) s)`;
