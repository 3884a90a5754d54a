import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type PostgresServer, startPostgres } from '../../cli/services/postgres.ts';
import { migrate, openStore, type Store } from '../../store/database.ts';
import { freePort } from './ports.ts';

let shared: Promise<PostgresServer> | undefined;
let dir: string | undefined;

/** One server for the whole test process, started on first use and stopped by the root hook in `hooks.ts`. */
export function sharedPostgres(): Promise<PostgresServer> {
  shared ??= (async () => {
    dir = mkdtempSync(join(tmpdir(), 'postgres-'));
    return startPostgres({ dir: join(dir, 'data'), port: await freePort() });
  })();
  return shared;
}

export async function stopSharedPostgres(): Promise<void> {
  if (!shared) return;
  await (await shared).stop();
  shared = undefined;
  if (dir) rmSync(dir, { recursive: true, force: true });
}

export interface TestDatabase {
  url: string;
  store: Store;
  drop(): Promise<void>;
}

/** A migrated database of its own for one suite. */
export async function testDatabase(): Promise<TestDatabase> {
  const server = await sharedPostgres();
  const name = `test_${randomBytes(6).toString('hex')}`;
  await admin(server.url, `CREATE DATABASE ${name}`);
  const url = server.url.replace(/\/postgres$/, `/${name}`);
  const store = openStore(url);
  await migrate(store);
  return {
    url,
    store,
    drop: async () => {
      await store.destroy();
      await admin(server.url, `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

async function admin(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(statement);
  await client.end();
}
