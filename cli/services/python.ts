import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { access, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDir } from '../../runtime/config.ts';

const run = promisify(execFile);

/** The clients that nobody here wrote: the Hub's own library with its `hf` command, and OpenAI's. */
const CLIENTS = ['huggingface_hub>=2.4,<3', 'openai>=2,<3'];

export interface PythonVenv {
  /** The interpreter. */
  python: string;
  /** The folder of the commands, such as `hf`. */
  bin: string;
}

const made = new Map<string, Promise<PythonVenv>>();

/**
 * A Python environment with these packages (default: `huggingface_hub` and `openai`), made once per user and kept in the
 * cache directory. Two processes may make it at the same time: each builds its own, the first to finish gives it the name.
 * @throws when `python3` with `venv` is missing or a package index cannot be reached; the message says which
 */
export function pythonVenv(requirements: readonly string[] = CLIENTS): Promise<PythonVenv> {
  const key = createHash('sha256').update(requirements.join('\n')).digest('hex').slice(0, 8);
  const venv = made.get(key) ?? findOrCreate(key, requirements);
  made.set(key, venv);
  venv.catch(() => made.delete(key));
  return venv;
}

async function findOrCreate(key: string, requirements: readonly string[]): Promise<PythonVenv> {
  const base = cacheDir();
  const name = join(base, `python-${key}`);
  const venv = { python: join(name, 'bin', 'python'), bin: join(name, 'bin') };
  if (await exists(venv.python)) return venv;

  await mkdir(base, { recursive: true });
  // The commands in a virtual environment hold its path, so it is built where it stays and only linked afterwards.
  const build = `${name}.${randomBytes(4).toString('hex')}`;
  try {
    await step('python3 -m venv', run('python3', ['-m', 'venv', build]));
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...requirements];
    await step('pip install', run(join(build, 'bin', 'python'), pip, { maxBuffer: 1 << 24 }));
  } catch (error) {
    await rm(build, { recursive: true, force: true });
    throw error;
  }
  const link = `${build}.link`;
  await symlink(build, link);
  if (await exists(venv.python)) {
    await rm(link);
    await rm(build, { recursive: true, force: true });
  } else {
    await rename(link, name);
  }
  return venv;
}

async function step(what: string, running: Promise<unknown>): Promise<void> {
  try {
    await running;
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error);
    throw new Error(`Python packages are not available: '${what}' failed: ${said.slice(-500)}`, {
      cause: error,
    });
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
