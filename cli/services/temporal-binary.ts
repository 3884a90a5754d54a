import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CliError } from '../errors.ts';
import { waitForLock } from '../up/lock.ts';
import { exec, onPath, tryExec } from './exec.ts';
import { download, megabytes } from './net.ts';

export interface BinaryOptions {
  cacheDir: string;
  /** Version to fetch when the machine has none, such as `1.5.1`. */
  version: string;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}

/**
 * The `temporal` program with the development server, from the first of: `TEMPORAL_CLI_PATH`, PATH, the cache, the
 * official release, the Go module of the same version. What had to be fetched stays in the cache.
 * @throws CliError naming every way that was tried
 */
export async function temporalBinary(options: BinaryOptions): Promise<{ path: string; source: string }> {
  const named = (options.env ?? process.env).TEMPORAL_CLI_PATH;
  if (named) {
    if (await works(named)) return { path: named, source: 'TEMPORAL_CLI_PATH' };
    throw new CliError(`TEMPORAL_CLI_PATH is ${named}, which does not run: '${named} --version' failed`);
  }
  const found = await onPath('temporal');
  if (found && (await works(found))) return { path: found, source: 'PATH' };
  const cached = join(options.cacheDir, `temporal-${options.version}`);
  if (await works(cached)) return { path: cached, source: 'cache' };

  await mkdir(options.cacheDir, { recursive: true });
  const lock = await waitForLock(`${cached}.lock`, {
    onWait: ({ pid }) => options.onProgress?.(`waiting for process ${pid}, which is fetching it`),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  try {
    if (await works(cached)) return { path: cached, source: 'cache' };
    return { path: cached, source: await fetchInto(cached, options) };
  } finally {
    lock.release();
  }
}

async function works(path: string): Promise<boolean> {
  return (await tryExec(path, ['--version'], { timeoutMs: 10_000 })).code === 0;
}

async function fetchInto(target: string, options: BinaryOptions): Promise<string> {
  const work = `${target}.${randomBytes(4).toString('hex')}`;
  await mkdir(work, { recursive: true });
  const failures: string[] = [];
  try {
    for (const [source, fetchTo] of [
      ['official release', fromRelease],
      ['Go module', fromGo],
    ] as const) {
      try {
        const program = await fetchTo(work, options);
        await chmod(program, 0o755);
        if (!(await works(program))) throw new CliError('the program does not run here');
        await rename(program, target);
        return source;
      } catch (error) {
        options.signal?.throwIfAborted();
        failures.push(`${source}: ${(error as Error).message}`);
      }
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  throw new CliError(
    `no Temporal server: ${failures.join('; ')}. Install the temporal CLI (https://docs.temporal.io/cli), ` +
      'name it in TEMPORAL_CLI_PATH, or set TEMPORAL_ADDRESS to a server of yours',
  );
}

async function fromRelease(work: string, { version, signal, onProgress }: BinaryOptions): Promise<string> {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  const name = `temporal_cli_${version}_${process.platform}_${arch}.tar.gz`;
  const archive = join(work, name);
  onProgress?.('asking for the official release');
  await download(`https://github.com/temporalio/cli/releases/download/v${version}/${name}`, archive, {
    signal,
    onProgress: (done, total) => onProgress?.(`downloading ${megabytes(done)} of ${megabytes(total)}`),
  });
  await exec('tar', ['-xzf', archive, '-C', work, 'temporal'], { signal });
  return join(work, 'temporal');
}

/** About 3.5 minutes on two cores: the server and its UI are compiled from source. */
async function fromGo(work: string, { version, signal, onProgress }: BinaryOptions): Promise<string> {
  if (!(await onPath('go'))) throw new CliError('Go is not installed');
  const env = {
    ...process.env,
    GOBIN: join(work, 'bin'),
    // Everything Go makes on the way goes with the work folder; read-only module files could not be deleted.
    GOMODCACHE: join(work, 'mod'),
    GOCACHE: join(work, 'build'),
    GOTMPDIR: work,
    GOFLAGS: '-modcacherw',
  };
  const seen = { modules: 0, packages: 0 };
  const ldflags = `-s -w -X github.com/temporalio/cli/internal/temporalcli.Version=${version}`;
  await exec(
    'go',
    ['install', '-v', '-ldflags', ldflags, `github.com/temporalio/cli/cmd/temporal@v${version}`],
    {
      env,
      signal,
      onLine: (line) => {
        seen[line.startsWith('go: downloading') ? 'modules' : 'packages'] += 1;
        onProgress?.(`building from source: ${seen.modules} modules, ${seen.packages} packages (minutes)`);
      },
    },
  );
  return join(work, 'bin', 'temporal');
}
