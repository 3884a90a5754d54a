import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { pathToFileURL } from 'node:url';
import { eventually } from '../../test/support/eventually.ts';

const LOADER = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

export interface Started {
  pid: number;
  child: ChildProcess;
  stop(): Promise<void>;
}

/** Starts a program on one core. Its standard output is dropped, what it complains of is ours to show. */
export function startPinned(
  core: number,
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Started {
  const child = spawn('taskset', ['-c', String(core), command, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    pid: child.pid ?? 0,
    child,
    stop: async () => {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/**
 * The same for a TypeScript program of ours, with the young generation as large as the gateway's is in service.
 * `BENCH_PROFILE=<folder>` has each one leave a CPU profile there.
 */
export function startNode(
  core: number,
  file: string,
  args: readonly (string | number)[] = [],
  env: Record<string, string> = {},
): Started {
  const folder = process.env.BENCH_PROFILE;
  const profile = folder ? ['--cpu-prof', `--cpu-prof-dir=${folder}`] : [];
  const flags = ['--max-semi-space-size=64', ...profile, '--import', LOADER, file];
  return startPinned(core, process.execPath, [...flags, ...args.map(String)], env);
}

/** Moves this process, all its threads and its later children to one core. */
export function pinSelf(core: number): void {
  execFileSync('taskset', ['-acp', String(core), String(process.pid)], { stdio: 'ignore' });
}

export async function accepts(port: number): Promise<void> {
  await eventually(`port ${port} takes connections`, async () => {
    const socket = connect({ host: '127.0.0.1', port });
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    return open;
  });
}

/** CPU time of a process in seconds, user and system, all threads that live; to the nanosecond, unlike its `stat`. */
export function cpuSeconds(pid: number): number {
  let nanoseconds = 0;
  for (const task of readdirSync(`/proc/${pid}/task`))
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  return nanoseconds / 1e9;
}

export function rssMegabytes(pid: number): number {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kilobytes) / 1024;
}

export function has(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status === 0;
}

/** Installs what is missing of Debian's packages, several with a blank between, where we may. Whether that worked shows when they are used. */
export function installMissing(packages: Record<string, string>): void {
  const missing = Object.keys(packages).filter((program) => !has(program));
  if (missing.length === 0 || process.getuid?.() !== 0 || !has('apt-get')) return;
  const names = missing.flatMap((program) => packages[program]?.split(' ') ?? []);
  console.log(`installing ${names.join(', ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  spawnSync('apt-get', ['update', '-qq'], { env, stdio: 'ignore' });
  spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...names], {
    env,
    stdio: 'ignore',
  });
}
