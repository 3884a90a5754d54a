import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import { CliError } from '../errors.ts';
import { exec, onPath } from './exec.ts';

const SYSTEM_SOCKET = 'unix:///var/run/docker.sock';
const START_DEADLINE_MS = 30_000;

/** A client for `host`, as `DOCKER_HOST` writes it: `unix:///path` or `tcp://name:port`. */
export function dockerClient(host: string): Docker {
  if (host.startsWith('unix://')) return new Docker({ socketPath: host.slice('unix://'.length) });
  const url = new URL(host.replace(/^tcp:/, 'http:'));
  return new Docker({
    host: url.hostname,
    port: url.port || 2375,
    protocol: url.protocol === 'https:' ? 'https' : 'http',
  });
}

/** The engine's version, or undefined when nothing answers at `host`. */
export async function dockerVersion(host: string): Promise<string | undefined> {
  try {
    const version = await dockerClient(host).version();
    return version.Version;
  } catch {
    return undefined;
  }
}

/**
 * A Docker engine that answers: the one `DOCKER_HOST` names, else the first of the usual sockets (system, rootless,
 * Docker Desktop). Undefined when none does.
 * @throws CliError when `DOCKER_HOST` names one that does not answer: taking another would surprise
 */
export async function findDocker(env: NodeJS.ProcessEnv = process.env): Promise<string | undefined> {
  if (env.DOCKER_HOST) {
    if (await dockerVersion(env.DOCKER_HOST)) return env.DOCKER_HOST;
    throw new CliError(
      `no Docker engine answers at DOCKER_HOST=${env.DOCKER_HOST}: start it, or unset DOCKER_HOST`,
    );
  }
  const candidates = [
    SYSTEM_SOCKET,
    env.XDG_RUNTIME_DIR && `unix://${env.XDG_RUNTIME_DIR}/docker.sock`,
    env.HOME && `unix://${env.HOME}/.docker/run/docker.sock`,
  ];
  for (const host of candidates) {
    if (host && existsSync(host.slice('unix://'.length)) && (await dockerVersion(host))) return host;
  }
  return undefined;
}

/**
 * Makes sure a Docker engine runs. Where none answers, root on Linux gets Debian's engine, started in a session of its
 * own: it must outlive us, because engine containers keep running when we stop.
 * @throws CliError that says what to do
 */
export async function ensureDocker(options: {
  logFile: string;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}): Promise<{ host: string; started: boolean }> {
  const found = await findDocker(options.env);
  if (found) return { host: found, started: false };
  await installDockerd(options);
  // Where services are managed, the package has started it.
  const managed = await findDocker(options.env);
  if (managed) return { host: managed, started: false };
  options.onProgress?.('starting dockerd');
  await startDockerd([], options.logFile, SYSTEM_SOCKET);
  return { host: SYSTEM_SOCKET, started: true };
}

/** Installs Debian's engine when `dockerd` is missing. @throws CliError where that is not ours to do */
export async function installDockerd(options: {
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}): Promise<void> {
  const root = process.getuid?.() === 0;
  if (process.platform !== 'linux' || !root) {
    throw new CliError(
      'no Docker engine answers: install Docker (https://docs.docker.com/engine/install/) and start it, give your ' +
        'user access to its socket, or set DOCKER_HOST to an engine of yours',
    );
  }
  if (await onPath('dockerd')) return;
  if (!(await onPath('apt-get'))) {
    throw new CliError(
      'dockerd is missing and this is not Debian: install the Docker engine, then start again',
    );
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  options.onProgress?.('installing docker.io: apt-get update');
  await exec('apt-get', ['update', '-qq'], { env, signal: options.signal });
  options.onProgress?.('installing docker.io and iptables');
  const packages = ['docker.io', 'iptables'];
  await exec('apt-get', ['install', '-y', '--no-install-recommends', ...packages], {
    env,
    signal: options.signal,
  });
}

/** Starts `dockerd` on its own and waits until it answers. Returns its process number. @throws CliError */
export async function startDockerd(args: string[], logFile: string, host: string): Promise<number> {
  mkdirSync(join(logFile, '..'), { recursive: true });
  const log = openSync(logFile, 'a', 0o600);
  const child = spawn('dockerd', args, { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  let ended: string | undefined;
  child.once('error', (error) => {
    ended = error.message;
  });
  child.once('exit', (code) => {
    ended = `exit code ${code}`;
  });
  child.unref();
  const deadline = performance.now() + START_DEADLINE_MS;
  while (!(await dockerVersion(host))) {
    if (ended || performance.now() > deadline) {
      child.kill('SIGTERM');
      throw new CliError(`dockerd did not start (${ended ?? 'it does not answer'}). Its log: ${logFile}`);
    }
    await sleep(100);
  }
  return child.pid ?? 0;
}
