import { dataDir } from '../../runtime/config.ts';
import { CliError } from '../errors.ts';
import { isAlive } from '../up/process-id.ts';
import { readState } from '../up/state.ts';

/**
 * Has the gateway of this data directory replace its processes one by one, without a refused connection; returns at once.
 * @throws CliError when none runs
 */
export function restartGateway(): void {
  const gateway = readState(dataDir()).processes.find(({ name }) => name === 'gateway');
  if (!gateway || !isAlive(gateway.id))
    throw new CliError(`no gateway of ${dataDir()} runs here: 'npm start' starts one`);
  process.kill(gateway.id.pid, 'SIGHUP');
  console.log(`process ${gateway.id.pid} replaces its processes one by one; its log tells when it is done`);
}
