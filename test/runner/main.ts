import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { abortOnSignals } from '../../cli/interrupt.ts';
import { runSteps } from '../../cli/up/step.ts';
import { checkSteps } from './checks.ts';
import { dockerLeftovers, markedProcesses, RUN_MARK } from './leftovers.ts';
import { runMocha } from './mocha.ts';
import { type Parts, partSteps } from './parts.ts';
import type { Counts } from './reporter.ts';

const SPECS = 'test/**/*.test.ts';
/** Engines whose images are too big to come with every run. */
const ENGINE_SPECS = 'test/real/**/*.real.ts';

/**
 * Runs the tests with real parts, as `npm test` does, and resolves with the exit code. Arguments (files, `--grep …`) go
 * to Mocha; with any, the checks of the whole project are left out. `--engines` as the first, as `npm run test:engines`
 * gives it, runs the tests with the big engines instead.
 */
export async function main([first, ...others]: string[]): Promise<number> {
  const engines = first === '--engines';
  const args = engines || first === undefined ? others : [first, ...others];
  const specs = engines ? ENGINE_SPECS : SPECS;
  const run = randomBytes(6).toString('hex');
  const runDir = await mkdtemp(join(tmpdir(), 'endpoints-test-'));
  const parts: Parts = { env: {}, unavailable: {}, docker: undefined };
  const counts: Counts = { passed: 0, failed: 0, skipped: [] };
  const stopping = new AbortController();
  const { signal } = stopping;
  abortOnSignals(stopping);
  try {
    const said: string[] = [];
    const checks = args.length || engines ? [] : checkSteps(counts, said, signal);
    await runSteps([...checks, ...partSteps({ runDir, parts, signal, engines })], signal);
    for (const text of said) console.error(text);
    add(counts, await tests({ args, specs, run, runDir, parts, signal }));
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await endRun(run, parts, counts);
    await parts.docker?.stop();
    await rm(runDir, { recursive: true, force: true });
  }
  for (const { title, reason } of counts.skipped) console.log(`skipped: ${title} (${reason})`);
  if (signal.aborted) console.log('interrupted');
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped.length} skipped`);
  return signal.aborted ? 130 : counts.failed > 0 ? 1 : 0;
}

function tests({
  args,
  specs,
  run,
  runDir,
  parts,
  signal,
}: {
  args: string[];
  specs: string;
  run: string;
  runDir: string;
  parts: Parts;
  signal: AbortSignal;
}): Promise<Counts> {
  const { TSX_DISABLE_CACHE, ...inherited } = process.env;
  const env = {
    ...inherited,
    ...parts.env,
    TEST_UNAVAILABLE: JSON.stringify(parts.unavailable),
    // Temporary files, the TypeScript loader's cache too, go with the run.
    TMPDIR: runDir,
    [RUN_MARK]: run,
  };
  return runMocha({ args, specs, env, resultFile: join(runDir, 'counts.json'), signal });
}

/** What the tests left running or standing is a failure, and is ended. */
async function endRun(run: string, parts: Parts, counts: Counts): Promise<void> {
  const processes = markedProcesses(run);
  for (const { pid } of processes) process.kill(pid, 'SIGKILL');
  const left = [
    ...processes.map(({ pid, command }) => `process ${pid}: ${command}`),
    ...(parts.docker ? await dockerLeftovers(parts.docker.host) : []),
  ];
  if (left.length === 0) return;
  counts.failed += 1;
  console.error(`the tests left behind:\n  ${left.join('\n  ')}`);
}

function add(counts: Counts, more: Counts): void {
  counts.passed += more.passed;
  counts.failed += more.failed;
  counts.skipped.push(...more.skipped);
}
