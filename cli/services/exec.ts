import { spawn } from 'node:child_process';
import { CliError } from '../errors.ts';

export interface ExecOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Every line of standard output and error, for progress. */
  onLine?: (line: string) => void;
  signal?: AbortSignal | undefined;
  timeoutMs?: number;
}

export interface ExecResult {
  /** Exit code; -1 when a signal ended it or it could not be run at all. */
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end. Never throws for its failure: see {@link exec}. @throws when `signal` is aborted */
export async function tryExec(
  file: string,
  args: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  const child = spawn(file, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: options.env ?? process.env,
    ...(options.cwd ? { cwd: options.cwd } : {}),
    ...(options.timeoutMs ? { timeout: options.timeoutMs } : {}),
  });
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      texts[name] += chunk;
      for (const line of chunk.split('\n').filter(Boolean)) options.onLine?.(line);
    });
  }
  const kill = () => child.kill('SIGTERM');
  options.signal?.addEventListener('abort', kill, { once: true });
  const code = await new Promise<number>((resolve) => {
    child.once('error', (error) => {
      texts.stderr += error.message;
      resolve(-1);
    });
    child.once('close', (exitCode) => resolve(exitCode ?? -1));
  });
  options.signal?.removeEventListener('abort', kill);
  options.signal?.throwIfAborted();
  return { code, ...texts };
}

/** The same, for a program that must succeed. @throws CliError with its last lines */
export async function exec(
  file: string,
  args: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  const result = await tryExec(file, args, options);
  if (result.code === 0) return result;
  const said = (result.stderr.trim() || result.stdout.trim()).split('\n').slice(-4).join(' | ');
  throw new CliError(`'${[file, ...args].join(' ')}' failed (exit code ${result.code}): ${said}`);
}

/** Where a program is found on PATH; undefined when it is not. */
export async function onPath(program: string): Promise<string | undefined> {
  const { code, stdout } = await tryExec('sh', ['-c', 'command -v "$0"', program]);
  return code === 0 ? stdout.trim() : undefined;
}
