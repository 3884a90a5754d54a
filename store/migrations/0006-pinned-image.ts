import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- The exact image of a revision: 'name@sha256:…', or the local id 'sha256:…' of one that no registry knows. Written by
    -- the first replica that has it on its host; null until then.
    ALTER TABLE revisions ADD COLUMN image text;
  `.execute(db);
}
