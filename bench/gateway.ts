import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../test/support/ports.ts';
import { stopSharedPostgres } from '../test/support/postgres.ts';
import { bare, type Contender, haproxy, nginx, ours, REPLICAS, rustRouters } from './gateway/contenders.ts';
import { MEASURES, type Measures, STEPS } from './gateway/measures.ts';
import { startUpstream } from './gateway/native.ts';
import { accepts, has, installMissing, pinSelf } from './gateway/processes.ts';
import { median } from './support/stage.ts';

/**
 * The gateway beside other proxies, in interleaved rounds: proxies on core 0, load and upstream on core 1. Milliseconds
 * where a column says nothing else; `× bare` are medians of the ratios of each round. `BENCH_ROUNDS` (default 15) and
 * `BENCH_SECONDS` (default 1, per load) say how long, `BENCH_ONLY=ours,nginx` which are compared with the bare proxy.
 */
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 15);
const SECONDS = Number(process.env.BENCH_SECONDS ?? 1);
/**
 * Rounds that count for nothing, the first one with longer loads: until the compiler has seen to all that is hot, which
 * takes tens of thousands of requests, and of streamed events.
 */
const WARM_ROUNDS = 4;
const WARM_SECONDS = Number(process.env.BENCH_WARM_SECONDS ?? 12);
const ONLY = process.env.BENCH_ONLY?.split(',');
const LOAD_CORE = 1;

const BARE = 'bare undici';
const RUST = 'vllm-router';

/** CPU that bare undici needs for a request on the machine on which the bars in milliseconds were set, µs. */
const REFERENCE_CPU = 43;

/**
 * Ratios to another row, and, where bare undici is weak, milliseconds on that machine: here they are longer in the
 * measure in which bare undici needs more CPU.
 */
const BARS: { measure: keyof Measures; to?: string; atLeast?: number; atMost?: number }[] = [
  { measure: 'req/s', to: BARE, atLeast: 0.8 },
  { measure: 'req/s', to: RUST, atLeast: 1.3 },
  { measure: 'p50 1', to: BARE, atMost: 1.15 },
  { measure: 'p50 1k/s', to: BARE, atMost: 1.15 },
  { measure: 'p99 1', atMost: 1.5 },
  { measure: 'chunk p99', atMost: 1 },
  { measure: 'first p50', atMost: 3 },
];

if (process.platform !== 'linux' || cpus().length < 2 || !has('taskset')) {
  console.error('bench gateway: needs Linux with two cores and taskset (Debian package util-linux)');
  process.exit(1);
}
installMissing({ wrk: 'wrk', nginx: 'nginx-light', haproxy: 'haproxy' });
if (!has('wrk')) {
  console.error('bench gateway: wrk, which makes the load, is not installed: apt-get install wrk');
  process.exit(1);
}
pinSelf(LOAD_CORE);

const dir = await mkdtemp(join(tmpdir(), 'bench-gateway-'));
const contenders: Contender[] = [];
let closeWorld = async () => {};
const upstreamPorts = await Promise.all(Array.from({ length: REPLICAS }, freePort));
const [upstreamPort = 0] = upstreamPorts;
const upstream = startUpstream(LOAD_CORE, dir, upstreamPorts);
let met = false;
try {
  await accepts(upstreamPort);
  contenders.push({ name: 'direct', target: { port: upstreamPort, prefix: '', headers: [] }, process: null });
  contenders.push(await bare(upstreamPort));
  const gateway = await ours(upstreamPorts, dir);
  closeWorld = gateway.close;
  contenders.push(gateway);
  const proxies = { nginx, haproxy };
  for (const [name, start] of Object.entries(proxies)) {
    const other = wanted(name) ? await start(upstreamPort, dir) : null;
    if (other) contenders.push(other);
  }
  if (wanted(RUST)) contenders.push(...(await rustRouters(upstreamPorts)));
  met = report(await rounds());
} finally {
  for (const { process } of contenders) await process?.stop();
  await upstream.stop();
  await closeWorld();
  await stopSharedPostgres();
  await rm(dir, { recursive: true, force: true });
}
process.exit(met ? 0 : 1);

function wanted(name: string): boolean {
  return ONLY === undefined || ONLY.includes(name);
}

async function rounds(): Promise<Map<string, Measures[]>> {
  const results = new Map<string, Measures[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 1 - WARM_ROUNDS; round <= ROUNDS; round += 1) {
    const seconds = round === 1 - WARM_ROUNDS ? WARM_SECONDS : SECONDS;
    const measured = new Map(contenders.map(({ name }) => [name, {} as Measures]));
    for (const { silenceMs = 0, measure } of STEPS) {
      await sleep(silenceMs);
      for (const contender of contenders) {
        const found = await measure(contender, { seconds, dir, upstreamPort });
        Object.assign(measured.get(contender.name) ?? {}, found);
      }
    }
    if (round > 0) for (const [name, measures] of measured) results.get(name)?.push(measures);
  }
  return results;
}

function report(results: Map<string, Measures[]>): boolean {
  const of = (name: string, measure: keyof Measures) => results.get(name)?.map((m) => m[measure]) ?? [];
  const figure = (name: string, measure: keyof Measures) => median(of(name, measure));
  const ratio = (name: string, measure: keyof Measures, to = BARE) => {
    const base = of(to, measure);
    return median(of(name, measure).map((value, i) => value / (base[i] ?? Number.NaN)));
  };
  const table = (value: (name: string, measure: keyof Measures) => number) =>
    Object.fromEntries(
      contenders.map(({ name }) => [
        name,
        Object.fromEntries(MEASURES.map((m) => [m, Number(value(name, m).toPrecision(3))])),
      ]),
    );
  console.log(`\nmedians of ${ROUNDS} rounds, ms unless said otherwise`);
  console.table(table(figure));
  console.log('× bare undici, medians of the ratios of each round');
  console.table(table((name, measure) => ratio(name, measure)));
  const slower = Math.max(figure(BARE, 'CPU µs/req') / REFERENCE_CPU, 1);
  console.log(`bars in ms are ${slower.toFixed(1)} times those of the machine they were set on`);
  // A row that is absent is no bar.
  const verdicts = BARS.filter(({ to }) => to === undefined || results.has(to)).map((bar) => {
    const value = bar.to ? ratio('ours', bar.measure, bar.to) : figure('ours', bar.measure);
    const atMost = (bar.atMost ?? Number.POSITIVE_INFINITY) * (bar.to ? 1 : slower);
    const met = value >= (bar.atLeast ?? 0) && value <= atMost;
    const limit = bar.atLeast === undefined ? `≤ ${Number(atMost.toPrecision(3))}` : `≥ ${bar.atLeast}`;
    return {
      bar: `${bar.measure} ${limit} ${bar.to ? `× ${bar.to}` : 'ms'}`,
      value: Number(value.toPrecision(3)),
      met,
    };
  });
  console.table(verdicts);
  return verdicts.every(({ met }) => met);
}
