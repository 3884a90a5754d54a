import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- How the container of a replica in stage 'standby' is kept. Such a replica has no route and no ready_at; a frozen one
    -- keeps an allocation without CPUs, a stopped one has none, and host_id says where the container is.
    ALTER TABLE replicas ADD COLUMN standby text CHECK (standby IN ('stopped', 'frozen'));
    CREATE INDEX replicas_frozen ON replicas (stage_since) WHERE standby = 'frozen' AND stopped_at IS NULL;
  `.execute(db);
}
