import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { cacheDir } from '../../runtime/config.ts';

/** What came of one cell of the matrix when it was last run. */
export interface Result {
  /** From the kill until everything was as it must be; null: it was not, in time. */
  readonly seconds: number | null;
  /** Why not; for whoever looks into it. */
  readonly why?: string;
  /** Tasks that wanted to run, for each core, over the last minute: what other work the machine had. */
  readonly load?: number;
  /** The day, as YYYY-MM-DD. */
  readonly date: string;
  /** Of the package. */
  readonly version: string;
}

/** By cell: `<step>/<victim>`. */
export type Results = Readonly<Record<string, Result>>;

export const cellOf = (step: string, victim: string) => `${step}/${victim}`;

const ROOT = join(import.meta.dirname, '../..');
export const VERSION = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string })
  .version;

/** Outlives the runs, so that the matrix can be run in parts. */
const file = () => join(cacheDir(), 'fault-matrix.json');

export function readResults(): Results {
  try {
    return JSON.parse(readFileSync(file(), 'utf8')) as Results;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}

/** Puts a cell's result in the place of the one it had. */
export function keepResult(cell: string, outcome: Pick<Result, 'seconds' | 'why'>): void {
  const load = Math.round((10 * (loadavg()[0] ?? 0)) / availableParallelism()) / 10;
  const date = new Date().toISOString().slice(0, 10);
  const result: Result = { ...outcome, load, date, version: VERSION };
  mkdirSync(cacheDir(), { recursive: true });
  const next = `${file()}.next`;
  writeFileSync(next, `${JSON.stringify({ ...readResults(), [cell]: result }, null, 1)}\n`);
  renameSync(next, file());
}
