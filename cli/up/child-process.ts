import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { CliError } from '../errors.ts';
import { lastWords, openLogFile } from './log-file.ts';
import type { Running, Service } from './supervisor.ts';

const ROOT = new URL('../..', import.meta.url);
/** By its full path, so that it is found from any working directory. */
const LOADER = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/** How to run a program as a service. */
export interface ProgramService {
  name: string;
  file: string;
  args: string[];
  env: NodeJS.ProcessEnv;
  logFile: string;
  readyTimeoutMs: number;
  /** With an IPC channel: over it the program says `{ ready: true }`, and its closing tells it that we are gone. */
  ipc: boolean;
  /** Resolves when it serves; the start has failed when `signal` is aborted. */
  ready(child: ChildProcess, signal: AbortSignal): Promise<void>;
}

/**
 * A program as a supervised service: it gets a process group of its own, so that Ctrl-C on the terminal reaches the
 * supervisor alone, and writes to its log file directly, so that it can outlive us without breaking.
 */
export function programService(options: ProgramService): Service {
  return { name: options.name, start: (spawned, signal) => startProgram(options, spawned, signal) };
}

/** One of our own processes: TypeScript run by this Node, which reports over IPC that it serves. */
export function nodeService(options: {
  name: string;
  /** Path of the entry below the project's root. */
  entry: string;
  args?: string[];
  nodeOptions?: string[];
  env: NodeJS.ProcessEnv;
  logFile: string;
  readyTimeoutMs?: number;
}): Service {
  const entry = new URL(options.entry, ROOT).pathname;
  return programService({
    name: options.name,
    file: process.execPath,
    args: [...(options.nodeOptions ?? []), '--import', LOADER, entry, ...(options.args ?? [])],
    env: options.env,
    logFile: options.logFile,
    readyTimeoutMs: options.readyTimeoutMs ?? 60_000,
    ipc: true,
    ready: readyMessage,
  });
}

/** Resolves with the child's `{ ready: true }` message. */
export function readyMessage(child: ChildProcess, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
    child.on('message', (message: unknown) => {
      if (typeof message === 'object' && message !== null && 'ready' in message) resolve();
    });
  });
}

async function startProgram(
  options: ProgramService,
  spawned: (pid: number) => void,
  stopping: AbortSignal,
): Promise<Running> {
  const { name, logFile } = options;
  const log = openLogFile(logFile);
  const stdio: StdioOptions = ['ignore', log.fd, log.fd, ...(options.ipc ? (['ipc'] as const) : [])];
  const child = spawn(options.file, options.args, { cwd: ROOT, env: options.env, detached: true, stdio });
  closeSync(log.fd);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ? `killed by ${signal}` : `exit code ${code}`));
  });
  if (child.pid === undefined) throw new CliError(`${name} cannot be run: ${await ended}`);
  spawned(child.pid);

  const starting = new AbortController();
  const timer = setTimeout(
    () => starting.abort(new Error(`not ready after ${options.readyTimeoutMs / 1000} s`)),
    options.readyTimeoutMs,
  );
  void ended.then((how) => starting.abort(new Error(how)));
  const stop = () => starting.abort(new Error('told to stop'));
  stopping.addEventListener('abort', stop, { once: true });
  const running = { pid: child.pid, ended, stop: (graceMs: number) => stopProcess(child, ended, graceMs) };
  try {
    await options.ready(child, starting.signal);
    return running;
  } catch (error) {
    await running.stop(0);
    const why = starting.signal.aborted
      ? (starting.signal.reason as Error).message
      : (error as Error).message;
    const said = lastWords(logFile, log.startedAt);
    throw new CliError(`${name} did not start (${why})${said ? `: ${said}` : ''}. Its log: ${logFile}`, {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
    stopping.removeEventListener('abort', stop);
  }
}

/** SIGTERM, and SIGKILL to its whole process group after `graceMs`. */
async function stopProcess(child: ChildProcess, ended: Promise<string>, graceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const abandoned = new AbortController();
  if (graceMs > 0) child.kill('SIGTERM');
  const late = sleep(graceMs, undefined, { signal: abandoned.signal }).then(
    () => killGroup(child.pid),
    () => undefined,
  );
  await ended;
  abandoned.abort();
  await late;
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
