import { type Kysely, sql } from 'kysely';

/** Gateways also say how each replica answered: rollouts are judged and failing replicas replaced by it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`ALTER TABLE gateway_load ADD COLUMN answers jsonb NOT NULL DEFAULT '{}'`.execute(db);
}
