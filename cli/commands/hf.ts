import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { dataDir } from '../../runtime/config.ts';
import { CliError } from '../errors.ts';
import { pythonVenv } from '../services/python.ts';
import { readConnection } from '../up/state.ts';

/** The folder whose `sitecustomize.py` points the library's fixed API address here. */
const PYTHON_PATH = new URL('../hf', import.meta.url).pathname;

/**
 * Runs the real `hf` command against this installation and resolves with its exit code. The Python environment is made
 * on first use. @throws CliError
 */
export async function hf(args: string[]): Promise<number> {
  const connection = readConnection(dataDir());
  if (!connection) throw new CliError(`no installation in ${dataDir()}: start it with 'npm start'`);
  const venv = await pythonVenv();
  const child = spawn(join(venv.bin, 'hf'), args, {
    stdio: 'inherit',
    env: {
      ...process.env,
      PYTHONPATH: PYTHON_PATH,
      HF_ENDPOINT: connection.api,
      HF_TOKEN: connection.token,
      ENDPOINTS_API_URL: connection.api,
    },
  });
  // Ctrl-C reaches the child through the terminal; it decides what that means, and we pass its answer on.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 130));
  });
}
