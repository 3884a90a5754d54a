import { join } from 'node:path';
import { freePort } from '../../test/support/ports.ts';
import { type Started, startNode } from './processes.ts';

/** One gateway process on a store, on one core, that can route. There is no Temporal: it wakes nobody. @throws Error when it ends instead */
export async function startGateway(
  core: number,
  { databaseUrl, secretKey, dir }: { databaseUrl: string; secretKey: string; dir: string },
): Promise<Started & { port: number }> {
  const port = await freePort();
  const started = startNode(core, join(import.meta.dirname, '../../api/gateway/worker.ts'), [], {
    DATABASE_URL: databaseUrl,
    ENDPOINTS_SECRET_KEY: secretKey,
    ENDPOINTS_DATA_DIR: dir,
    GATEWAY_PORT: String(port),
    TEMPORAL_ADDRESS: '127.0.0.1:1',
  });
  const ready = new Promise((resolve) => started.child.once('message', resolve));
  const ended = new Promise((resolve) => started.child.once('exit', () => resolve('ended')));
  if ((await Promise.race([ready, ended])) === 'ended')
    throw new Error('the gateway did not start: what it said is above');
  return { ...started, port };
}
