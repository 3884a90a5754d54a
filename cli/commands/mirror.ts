import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { startMirror } from '../../hub/mirror/server.ts';
import { createLog } from '../../runtime/log.ts';
import { onShutdown, reportReady } from '../../runtime/process.ts';
import { CliError } from '../errors.ts';

/** Serves a folder of repositories by the Hub's HTTP API until it is told to stop. @throws CliError */
export async function mirror(dir: string, options: { host: string; port: number }): Promise<void> {
  const folder = resolve(dir);
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    throw new CliError(
      `${folder} is not a folder: give one that holds <owner>/<name> folders with the files`,
    );
  }
  const log = createLog('mirror');
  const server = await startMirror({ dir: folder, host: options.host, port: options.port });
  onShutdown(log, () => server.close());
  log.info({ url: server.url, dir: folder }, 'serving');
  reportReady();
}
