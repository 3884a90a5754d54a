import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runSteps } from '../../cli/up/step.ts';
import { type Parts, partSteps } from '../../test/runner/parts.ts';
import { Installation } from '../../test/support/installation.ts';

/**
 * Runs a measurement against an installation of its own, on the same real parts as the tests, and removes all of it.
 * The exit code is the measurement's: 0 when its bar is met.
 */
export function measure(run: (installation: Installation) => Promise<boolean>): Promise<never> {
  return measureDocker(async () => {
    const installation = await Installation.prepare();
    try {
      await installation.up();
      return await run(installation);
    } finally {
      await installation.destroy();
    }
  });
}

/** The same with the real parts alone: Docker with the engine's image, and weights. */
export async function measureDocker(run: () => Promise<boolean>): Promise<never> {
  const dir = await mkdtemp(join(tmpdir(), 'endpoints-bench-'));
  const parts: Parts = { env: {}, unavailable: {}, docker: undefined };
  const stopping = new AbortController();
  let met = false;
  try {
    await runSteps(partSteps({ runDir: dir, parts, signal: stopping.signal }), stopping.signal);
    Object.assign(process.env, parts.env);
    met = await run();
  } finally {
    await parts.docker?.stop();
    await rm(dir, { recursive: true, force: true });
  }
  process.exit(met ? 0 : 1);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

/** Prints one line a row: name, median, all values; milliseconds. */
export function printRows(rows: Record<string, readonly number[]>): void {
  const shown = Object.entries(rows).map(([step, values]) => ({
    step,
    'median ms': Math.round(median(values)),
    'all ms': values.map(Math.round).join(' '),
  }));
  console.table(shown);
}
