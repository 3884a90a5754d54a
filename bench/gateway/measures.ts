import { abort, constantRate, streams } from './client.ts';
import type { Contender } from './contenders.ts';
import { cpuSeconds, rssMegabytes } from './processes.ts';
import { wrk } from './wrk.ts';

/** What one round finds out about one contender; NaN where it does not apply. */
export const MEASURES = [
  'req/s',
  'CPU µs/req',
  'p99 64',
  'p50 1',
  'p99 1',
  'p50 1k/s',
  'chunk p50',
  'chunk p99',
  'chunk p99 200',
  'first p50',
  'first cold',
  'first burst',
  'abort',
  'RSS MB',
] as const;
export type Measures = Record<(typeof MEASURES)[number], number>;

const RATE = 1000;
const STREAMS = { count: 100, chunks: 75, everyMs: 20, withinMs: 20 };
/** Longer than undici, or we, keep an idle connection to the engine: the streams after it find none. */
const SILENCE_MS = 4500;
const COLD = { count: 100, chunks: 5, everyMs: 20, withinMs: 20 };
/** All requests in one moment, over connections that are open: harder than clients can be. */
const BURST = { count: 100, chunks: 2, everyMs: 100, withinMs: 0, ahead: true };
const BURSTS = 5;
const MANY_STREAMS = { count: 200, chunks: 50, everyMs: 20, withinMs: 20 };
const ABORTS = 5;

export interface Conditions {
  /** Per load. */
  seconds: number;
  dir: string;
  upstreamPort: number;
}

interface Step {
  /** All contenders are left alone for so long before. */
  silenceMs?: number;
  measure(contender: Contender, conditions: Conditions): Promise<Partial<Measures>>;
}

/** What is measured, one after the other: of all contenders the same within moments, because a machine changes its speed. */
export const STEPS: readonly Step[] = [
  // In the order in which the figures were measured that the bars come from: a stream finds what the loads have left.
  {
    measure: async ({ target, process }, { seconds, dir }) => {
      const before = process ? cpuSeconds(process.pid) : 0;
      const many = await wrk(target, { connections: 64, seconds, dir });
      const cpu = process ? cpuSeconds(process.pid) - before : Number.NaN;
      const one = await wrk(target, { connections: 1, seconds, dir });
      const { first, chunks } = await streams(target, dir, STREAMS);
      return {
        'req/s': many.perSecond,
        'CPU µs/req': (cpu * 1e6) / (many.perSecond * seconds),
        'p99 64': many.p99Ms,
        'p50 1': one.p50Ms,
        'p99 1': one.p99Ms,
        'chunk p50': quantile(chunks, 0.5),
        'chunk p99': quantile(chunks, 0.99),
        'first p50': quantile(first, 0.5),
      };
    },
  },
  {
    measure: async ({ target }, { seconds }) => ({
      'p50 1k/s': quantile(await constantRate(target, RATE, seconds), 0.5),
    }),
  },
  {
    measure: async ({ target }, { dir }) => {
      const { chunks } = await streams(target, dir, MANY_STREAMS);
      const first: number[] = [];
      for (let i = 0; i < BURSTS; i += 1) first.push(...(await streams(target, dir, BURST)).first);
      return { 'chunk p99 200': quantile(chunks, 0.99), 'first burst': quantile(first, 0.5) };
    },
  },
  {
    silenceMs: SILENCE_MS,
    measure: async ({ target }, { dir }) => ({
      'first cold': quantile((await streams(target, dir, COLD)).first, 0.5),
    }),
  },
  {
    measure: async ({ target, process }, { upstreamPort }) => {
      const aborts: number[] = [];
      for (let i = 0; i < ABORTS; i += 1) aborts.push(await abort(target, upstreamPort));
      return { abort: quantile(aborts, 0.5), 'RSS MB': process ? rssMegabytes(process.pid) : Number.NaN };
    },
  },
];

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * q), sorted.length - 1)] ?? Number.NaN;
}
