import { join } from 'node:path';
import {
  ConfigError,
  dataDir,
  loadPlatformConfig,
  loadTemporalConfig,
  type PlatformConfig,
  type TemporalConfig,
} from '../../runtime/config.ts';
import { createLog } from '../../runtime/log.ts';
import { onShutdown, reportReady } from '../../runtime/process.ts';
import { temporalClient } from '../../runtime/temporal.ts';
import { endpointWorkflowId } from '../../spec/names.ts';
import { openStore } from '../../store/database.ts';
import { openVault } from '../../store/secrets.ts';
import { wake } from '../../workflows/messages.ts';
import { createGateway } from './server.ts';
import type { Wake } from './wake.ts';

/** The gateway process. Neither the store nor Temporal need be there when it starts. */

const SIGNAL_TIMEOUT_MS = 5000;
/** The feed reads one thing at a time and the reporter writes one; the rest is reserve. */
const MAX_CONNECTIONS = 4;

const log = createLog('gateway');
const { platform, temporal } = configuration();
const databaseUrl = process.env.DATABASE_URL;
if (!databaseUrl) fail('DATABASE_URL is not set: give the connection string of the PostgreSQL database');

const store = openStore(databaseUrl, { maxConnections: MAX_CONNECTIONS });
const gateway = createGateway({
  store,
  databaseUrl,
  vault: openVault(join(dataDir(), 'secret.key')),
  wake: wakeBySignal(temporal),
  log,
  config: platform.gateway,
});
onShutdown(log, async () => {
  await gateway.close();
  await store.destroy();
});

const { host, port } = platform.gateway;
try {
  await gateway.listen({ host, port });
} catch (error) {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'EADDRINUSE')
    fail(`${host}:${port} is in use: stop what listens there or set GATEWAY_PORT to another port`);
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL')
    fail(
      `cannot listen on ${host}:${port} (${code}): set GATEWAY_HOST and GATEWAY_PORT to an address of this machine`,
    );
  throw error;
}
log.info({ host, port }, 'listening');
await gateway.ready;
reportReady();

function wakeBySignal(config: TemporalConfig): Wake {
  const client = temporalClient(config);
  return (namespace, name) =>
    client.withDeadline(Date.now() + SIGNAL_TIMEOUT_MS, () =>
      client.workflow.getHandle(endpointWorkflowId(namespace, name)).signal(wake),
    );
}

function configuration(): { platform: PlatformConfig; temporal: TemporalConfig } {
  try {
    return { platform: loadPlatformConfig(), temporal: loadTemporalConfig() };
  } catch (error) {
    if (error instanceof ConfigError) fail(error.message);
    throw error;
  }
}

/** One line for whoever started this, then the end. */
function fail(message: string): never {
  process.stderr.write(`gateway: ${message}\n`);
  process.exit(1);
}
