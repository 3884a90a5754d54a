import cluster from 'node:cluster';
import { join } from 'node:path';
import { dataDir, type TemporalConfig } from '../../runtime/config.ts';
import { createLog } from '../../runtime/log.ts';
import { goFirst, onShutdown, reportReady } from '../../runtime/process.ts';
import { temporalClient } from '../../runtime/temporal.ts';
import { endpointWorkflowId } from '../../spec/names.ts';
import { openStore } from '../../store/database.ts';
import { openVault } from '../../store/secrets.ts';
import { wake } from '../../workflows/messages.ts';
import { LISTEN_WHEN_READY, RETIRE } from './processes.ts';
import { createGateway } from './server.ts';
import { fail, readSettings } from './settings.ts';
import type { Wake } from './wake.ts';

/**
 * One gateway process: forked by `main.ts`, with which it shares the listening socket, or started alone. Neither the
 * store nor Temporal need be there when it starts.
 */

const SIGNAL_TIMEOUT_MS = 5000;
/** The feed reads one thing at a time and the reporter writes one; the rest is reserve. */
const MAX_CONNECTIONS = 4;

goFirst();
const log = createLog('gateway');
const { platform, temporal, databaseUrl } = readSettings();
const store = openStore(databaseUrl, { maxConnections: MAX_CONNECTIONS });
const gateway = createGateway({
  store,
  databaseUrl,
  vault: openVault(join(dataDir(), 'secret.key')),
  wake: wakeBySignal(temporal),
  log,
  config: platform.gateway,
});
// Without this, `node:cluster` ends a process at once when the one that forked it is gone; requests may end first.
if (cluster.worker) cluster.worker.exitedAfterDisconnect = true;
onShutdown(log, async () => {
  await gateway.close();
  await store.destroy();
});
process.on('message', (message) => {
  if (message === RETIRE) void retire();
});
// Meant for the process that forked this one, but a terminal sends it to all.
process.on('SIGHUP', () => undefined);

const { host, port } = platform.gateway;
if (process.env[LISTEN_WHEN_READY]) await gateway.ready;
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

/** Another process has taken this one's place: what is in hand ends, and so does this process. */
async function retire(): Promise<void> {
  log.info({}, 'replaced, ending when nothing is in hand');
  await gateway.retire(platform.lifecycle.drainSeconds * 1000);
  await store.destroy();
  process.exit(0);
}

function wakeBySignal(config: TemporalConfig): Wake {
  const client = temporalClient(config);
  return (namespace, name) =>
    client.withDeadline(Date.now() + SIGNAL_TIMEOUT_MS, () =>
      client.workflow.getHandle(endpointWorkflowId(namespace, name)).signal(wake),
    );
}
