import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createHub } from '../../hub/client.ts';
import {
  dataDir,
  loadPlatformConfig,
  loadTemporalConfig,
  type PlatformConfig,
} from '../../runtime/config.ts';
import { createLog, type Logger } from '../../runtime/log.ts';
import { onShutdown, reportReady } from '../../runtime/process.ts';
import { createScheduler } from '../../runtime/schedules.ts';
import { temporalClient } from '../../runtime/temporal.ts';
import { errorMessage } from '../../spec/errors.ts';
import { migrateDatabase, openStore } from '../../store/database.ts';
import { databaseFailure } from '../../store/failures.ts';
import { openVault } from '../../store/secrets.ts';
import { createNotifier } from '../../workflows/start.ts';
import { createRelay } from './relay.ts';
import { createControlApi } from './server.ts';

/** The process of the control API: `DATABASE_URL`, `ENDPOINTS_DATA_DIR`, `API_HOST`, `API_PORT` and the two YAML files. */

const DATABASE_RETRY_MS = 500;
const HUB_TIMEOUT_MS = 4000;

async function main(): Promise<void> {
  const log = createLog('api');
  const config = loadPlatformConfig();
  const temporal = loadTemporalConfig();
  const databaseUrl = process.env.DATABASE_URL;
  if (!databaseUrl) throw new Error('DATABASE_URL is not set: give the connection string of PostgreSQL');
  mkdirSync(dataDir(), { recursive: true, mode: 0o700 });
  const vault = openVault(join(dataDir(), 'secret.key'));
  const store = openStore(databaseUrl);
  await migrateWhenReachable(databaseUrl, log);

  const client = temporalClient(temporal);
  const notify = createNotifier(client, temporal);
  const relay = createRelay({ store, notify, log });
  const app = createControlApi({
    store,
    vault,
    config,
    temporal,
    // One try: the write must be answered soon, and the workflow asks again with more patience.
    hub: createHub({
      endpoint: config.hub.endpoint,
      token: process.env.HF_TOKEN ?? null,
      timeoutMs: HUB_TIMEOUT_MS,
      retries: 0,
    }),
    notify,
    schedules: createScheduler(client, temporal),
    gatewayUrl: gatewayUrl(config),
    log,
  });
  await app.listen({ host: config.api.host, port: config.api.port });
  relay.start();
  onShutdown(log, async () => {
    await app.close();
    await relay.stop();
    await client.connection.close();
    await store.destroy();
  });
  log.info({ host: config.api.host, port: config.api.port }, 'control API serves');
  reportReady();
}

/** The database may come up after this process, and several processes may do this at once. */
async function migrateWhenReachable(databaseUrl: string, log: Logger): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await migrateDatabase(databaseUrl);
      return;
    } catch (error) {
      if (databaseFailure(error)?.code !== 'UNAVAILABLE') throw error;
      if (attempt === 1) log.warn({ reason: errorMessage(error) }, 'waiting for the database');
      await new Promise((resolve) => setTimeout(resolve, DATABASE_RETRY_MS));
    }
  }
}

/** Base of the endpoints' URLs; an address that means "all" is no address to connect to. */
function gatewayUrl({ gateway }: PlatformConfig): string {
  const protocol = gateway.tls ? 'https' : 'http';
  const host = ['0.0.0.0', '::'].includes(gateway.host) ? '127.0.0.1' : gateway.host;
  const own = `${protocol}://${host.includes(':') ? `[${host}]` : host}:${gateway.port}`;
  const base = (gateway.publicUrl ?? own).replace(/\/+$/, '');
  if (gateway.domain === null) return base;
  // Of the address only the scheme and the port are left.
  const { protocol: scheme, port } = new URL(base);
  return `${scheme}//{id}.${gateway.domain}${port ? `:${port}` : ''}`;
}

main().catch((error: unknown) => {
  const inUse = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
  const why = inUse
    ? `${errorMessage(error)}: another process has this port; stop it or set API_PORT`
    : errorMessage(error);
  process.stderr.write(`control API: ${why}\n`);
  process.exit(1);
});
