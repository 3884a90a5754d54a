import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- How busy its GPUs are; null for a replica that has none, as cpu_percent is for one that has.
    ALTER TABLE replicas ADD COLUMN gpu_percent real;
  `.execute(db);
}
