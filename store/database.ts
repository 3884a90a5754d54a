import { Kysely, Migrator, PostgresDialect } from 'kysely';
import pg from 'pg';
import { isSilence } from './failures.ts';
import * as initial from './migrations/0001-initial.ts';
import * as schedules from './migrations/0002-schedules.ts';
import * as standby from './migrations/0003-standby.ts';
import * as answers from './migrations/0004-answers.ts';
import * as pinnedImage from './migrations/0006-pinned-image.ts';
import * as usage from './migrations/0007-usage.ts';
import * as engineMetrics from './migrations/0008-engine-metrics.ts';
import * as gpuUsage from './migrations/0009-gpu-usage.ts';
import type { Database } from './schema.ts';

export type Store = Kysely<Database>;

// bigint columns (sizes, versions, counters) stay far below 2^53, so they are read as numbers.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);
// Lists of them too; the types of `pg` know no list type by name.
const [INT4_LIST, INT8_LIST] = [1007, 1016];
pg.types.setTypeParser(INT8_LIST as never, pg.types.getTypeParser(INT4_LIST as never));

/** For a connection, and for a free place in the pool: a server that is silent must not hold requests for ever. */
const CONNECT_TIMEOUT_MS = 5000;
/** For an answer: the longest of our statements takes milliseconds, and a workflow's step gives up after 10 s. */
const ANSWER_TIMEOUT_MS = 8000;
/** The server itself gives up a little earlier, so that no statement works on for someone who has left. */
const STATEMENT_TIMEOUT_MS = 7000;

const MIGRATIONS = {
  '0001-initial': initial,
  '0002-schedules': schedules,
  '0003-standby': standby,
  '0004-answers': answers,
  '0006-pinned-image': pinnedImage,
  '0007-usage': usage,
  '0008-engine-metrics': engineMetrics,
  '0009-gpu-usage': gpuUsage,
};

/**
 * Opens a pool on `url` (a PostgreSQL connection string). Connects on first use; a lost connection is replaced by the
 * pool, the statement that met it fails. So does one that is not answered within 8 s, unless the store is `patient`.
 */
export function openStore(url: string, options: { maxConnections?: number; patient?: boolean } = {}): Store {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.maxConnections ?? 10,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    ...(options.patient ? {} : { query_timeout: ANSWER_TIMEOUT_MS, statement_timeout: STATEMENT_TIMEOUT_MS }),
  });
  // Without listeners a connection that breaks between two statements, in the pool or in a transaction, would end the
  // process. The next statement on it fails, and that is where it is dealt with.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => {
    client.on('error', () => undefined);
    endWhenSilent(client);
  });
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
}

/**
 * Ends the connection on which an answer did not come in time. The statement is still on it, and whatever is asked next,
 * such as the roll-back of the transaction it belonged to, would wait behind it as long again.
 */
function endWhenSilent(client: pg.PoolClient): void {
  const query = client.query.bind(client) as (...args: unknown[]) => unknown;
  const watched = (...args: unknown[]) => {
    const answer = query(...args);
    if (answer instanceof Promise)
      answer.catch((error: unknown) => {
        if (isSilence(error)) (client as pg.PoolClient & pg.Client).end().catch(() => undefined);
      });
    return answer;
  };
  client.query = watched as typeof client.query;
}

/** Brings the schema at `url` up to date, however long that takes. */
export async function migrateDatabase(url: string): Promise<string[]> {
  const store = openStore(url, { maxConnections: 2, patient: true });
  try {
    return await migrate(store);
  } finally {
    await store.destroy();
  }
}

/** Brings the schema up to date; several processes may call it at once, an advisory lock lets one at a time in. */
export async function migrate(store: Store): Promise<string[]> {
  const migrator = new Migrator({
    db: store,
    provider: { getMigrations: async () => MIGRATIONS },
    // Each makes tables and columns of its own, and one made earlier may be released later.
    allowUnorderedMigrations: true,
  });
  const { error, results } = await migrator.migrateToLatest();
  if (error) throw error;
  return (results ?? []).filter((r) => r.status === 'Success').map((r) => r.migrationName);
}
