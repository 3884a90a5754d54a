import { Kysely, Migrator, PostgresDialect } from 'kysely';
import pg from 'pg';
import * as initial from './migrations/0001-initial.ts';
import * as pinnedImage from './migrations/0006-pinned-image.ts';
import type { Database } from './schema.ts';

export type Store = Kysely<Database>;

// bigint columns (sizes, versions, counters) stay far below 2^53, so they are read as numbers.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/** For a connection, and for a free place in the pool: a server that is silent must not hold requests for ever. */
const CONNECT_TIMEOUT_MS = 5000;

const MIGRATIONS = { '0001-initial': initial, '0006-pinned-image': pinnedImage };

/**
 * Opens a pool on `url` (a PostgreSQL connection string). Connects on first use; a lost connection is replaced by the
 * pool, the statement that met it fails.
 */
export function openStore(url: string, options: { maxConnections?: number } = {}): Store {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.maxConnections ?? 10,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  // Without listeners a connection that breaks between two statements, in the pool or in a transaction, would end the
  // process. The next statement on it fails, and that is where it is dealt with.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
}

/** Brings the schema up to date; several processes may call it at once, an advisory lock lets one at a time in. */
export async function migrate(store: Store): Promise<string[]> {
  const migrator = new Migrator({ db: store, provider: { getMigrations: async () => MIGRATIONS } });
  const { error, results } = await migrator.migrateToLatest();
  if (error) throw error;
  return (results ?? []).filter((r) => r.status === 'Success').map((r) => r.migrationName);
}
