import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- Rules of scheduled scaling. version grows with every change, so that the schedule in Temporal can be compared.
    -- fired_at is the moment for which a rule was last carried out, not when that was done.
    CREATE TABLE schedules (
      endpoint_id            uuid NOT NULL REFERENCES endpoints ON DELETE CASCADE,
      name                   text NOT NULL,
      cron                   text NOT NULL,
      time_zone              text NOT NULL,
      min_replica            integer NOT NULL,
      max_replica            integer NOT NULL,
      scale_to_zero_timeout  integer,
      enabled                boolean NOT NULL,
      version                integer NOT NULL DEFAULT 1,
      fired_at               timestamptz,
      created_at             timestamptz NOT NULL DEFAULT now(),
      updated_at             timestamptz NOT NULL DEFAULT now(),
      updated_by             uuid NOT NULL,
      PRIMARY KEY (endpoint_id, name)
    );
  `.execute(db);
}
