import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- What was asked and answered, by the minute in which it ended. Rows only ever grow, and outlive their endpoint.
    CREATE TABLE usage_minutes (
      endpoint_id        uuid NOT NULL,
      minute             timestamptz NOT NULL,
      token_id           text NOT NULL, -- '': no token
      replica_id         text NOT NULL, -- '': no replica was asked
      status             integer NOT NULL, -- 0: the client left before there was one
      namespace          text NOT NULL,
      endpoint           text NOT NULL,
      requests           bigint NOT NULL,
      duration_ms        double precision NOT NULL, -- sum
      durations          bigint[] NOT NULL, -- how many, by the classes of spec/histogram.ts
      first_byte_ms      double precision NOT NULL, -- sum over those with a first byte
      first_bytes        bigint[] NOT NULL,
      request_bytes      bigint NOT NULL,
      response_bytes     bigint NOT NULL,
      prompt_tokens      bigint NOT NULL,
      completion_tokens  bigint NOT NULL,
      PRIMARY KEY (endpoint_id, minute, token_id, replica_id, status)
    );
    CREATE INDEX usage_minutes_namespace ON usage_minutes (namespace, minute);
    CREATE INDEX usage_minutes_minute ON usage_minutes (minute);

    -- Requests in hand, as milliseconds of all of them together: divided by the length of a span, their mean number in it.
    CREATE TABLE load_minutes (
      endpoint_id   uuid NOT NULL,
      minute        timestamptz NOT NULL,
      token_id      text NOT NULL,
      in_flight_ms  double precision NOT NULL, -- accepted and not ended, pending ones included
      pending_ms    double precision NOT NULL, -- accepted and without a response status
      PRIMARY KEY (endpoint_id, minute, token_id)
    );
    CREATE INDEX load_minutes_minute ON load_minutes (minute);

    -- The last batch of each gateway that was counted: one that is told again counts once.
    CREATE TABLE usage_batches (
      gateway_id  text PRIMARY KEY,
      batch       bigint NOT NULL,
      counted_at  timestamptz NOT NULL DEFAULT now()
    );

    CREATE FUNCTION add_counts(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
      'SELECT coalesce(array_agg(coalesce(x, 0) + coalesce(y, 0) ORDER BY i), ''{}'')
       FROM unnest(a, b) WITH ORDINALITY AS t(x, y, i)';
    CREATE AGGREGATE sum_counts(bigint[]) (SFUNC = add_counts, STYPE = bigint[], INITCOND = '{}');

    -- What each gateway has let through of what is limited, so that the others take it off their own count. Of no use
    -- after a crash, so not logged.
    CREATE UNLOGGED TABLE limit_counts (
      gateway_id   text NOT NULL REFERENCES gateways ON DELETE CASCADE,
      key          text NOT NULL,
      requests     double precision NOT NULL, -- since the gateway knows the key
      tokens       double precision NOT NULL,
      concurrent   integer NOT NULL,
      requests_left  double precision,
      tokens_left    double precision,
      reported_at  timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (gateway_id, key)
    );
    CREATE INDEX limit_counts_key ON limit_counts (key);
  `.execute(db);
}
