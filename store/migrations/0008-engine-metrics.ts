import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- What the engine of a replica last said of itself, under our names (spec/metrics.ts). A table of its own, because it
    -- is written every few seconds and rows of replicas are not.
    CREATE TABLE engine_metrics (
      replica_id  text PRIMARY KEY REFERENCES replicas ON DELETE CASCADE,
      metrics     jsonb NOT NULL,
      reported_at timestamptz NOT NULL DEFAULT now()
    );
  `.execute(db);
}
