import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counts } from './reporter.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
/** After an interruption Mocha ends the running test and runs the clean-up hooks. */
const INTERRUPT_GRACE_MS = 15_000;

/** After its report, Mocha ends as soon as nothing is open any more: by then something is, and stays so. */
const EXIT_GRACE_MS = 60_000;
const LOOK_MS = 1000;

/**
 * Runs Mocha in a process group of its own; `args` are files or options of Mocha's; no file means all of `specs`. A run
 * that died before its report, or does not end after it, counts as one failure.
 */
export async function runMocha(options: {
  args: string[];
  specs: string;
  env: NodeJS.ProcessEnv;
  resultFile: string;
  signal: AbortSignal;
}): Promise<Counts> {
  const { signal, resultFile } = options;
  const files = options.args.some((arg) => arg.endsWith('.ts')) ? [] : [options.specs];
  const reporter = ['--reporter', 'test/runner/reporter.ts'];
  const child = spawn(
    process.execPath,
    ['node_modules/mocha/bin/mocha.js', ...reporter, ...options.args, ...files],
    {
      cwd: ROOT,
      env: { ...options.env, TEST_RESULT_FILE: resultFile },
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
    },
  );
  const kill = (name: NodeJS.Signals) => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, name);
  };
  const interrupt = () => {
    kill('SIGINT');
    void sleep(INTERRUPT_GRACE_MS, undefined, { ref: false }).then(() => kill('SIGKILL'));
  };
  if (signal.aborted) interrupt();
  signal.addEventListener('abort', interrupt);
  let stuck = false;
  const over = new AbortController();
  void endsAfterReport(resultFile, over.signal).then((late) => {
    if (!late) return;
    stuck = true;
    console.error(
      `the tests are over, but something they opened keeps the process alive after ${EXIT_GRACE_MS} ms`,
    );
    kill('SIGKILL');
  });
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  over.abort();
  signal.removeEventListener('abort', interrupt);
  if (existsSync(resultFile)) {
    const counts = JSON.parse(readFileSync(resultFile, 'utf8')) as Counts;
    if (stuck) return { ...counts, failed: counts.failed + 1 };
    // A failed hook outside any test, or a rejection after the last one.
    return code === 0 || counts.failed > 0 ? counts : { ...counts, failed: 1 };
  }
  return { passed: 0, failed: 1, skipped: [] };
}

/** True when the report has been there for the grace; false when the run was over before. */
async function endsAfterReport(resultFile: string, over: AbortSignal): Promise<boolean> {
  const pause = (ms: number) => sleep(ms, undefined, { signal: over }).catch(() => undefined);
  while (!existsSync(resultFile) && !over.aborted) await pause(LOOK_MS);
  if (!over.aborted) await pause(EXIT_GRACE_MS);
  return !over.aborted;
}
