import { join } from 'node:path';
import { createLog } from '../../runtime/log.ts';
import { onShutdown, reportReady } from '../../runtime/process.ts';
import { Processes } from './processes.ts';
import { collectForScrapes } from './scrape.ts';
import { readSettings } from './settings.ts';

/** The gateway of one machine: starts its processes, keeps them running, and replaces them one by one on SIGHUP. */

const log = createLog('gateway');
const { platform } = readSettings();
const processes = new Processes({
  count: platform.gateway.processes,
  file: join(import.meta.dirname, 'worker.ts'),
  drainMs: platform.lifecycle.drainSeconds * 1000,
  log,
});
collectForScrapes();
onShutdown(log, () => processes.stop());
process.on('SIGHUP', () => void processes.replace());
try {
  await processes.start();
  reportReady();
} catch {
  // It has said itself why it could not start.
  await processes.stop();
  process.exit(1);
}
