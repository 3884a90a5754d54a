import { rmSync } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseDocument } from 'yaml';
import { eventually } from '../test/support/eventually.ts';
import type { Installation } from '../test/support/installation.ts';
import { familyOf } from '../test/support/traces.ts';
import { cpuSeconds, rssMegabytes } from './gateway/processes.ts';
import { measure } from './support/stage.ts';
import { STUB_ENGINE } from './support/stub-engine.ts';
import { startTemporalCluster } from './support/temporal-cluster.ts';

/**
 * What doing nothing costs: `IDLE_ENDPOINTS` (default 1,000) endpoints at zero and `IDLE_RUNNING` (default 50) that run a stub
 * engine, with nobody asking. CPU and memory of all our processes, Temporal and PostgreSQL among them. Bars of the design, over
 * an installation without endpoints: below 2 % of a core for all that sleep, and below 1 MB for each.
 */
const ASLEEP = Number(process.env.IDLE_ENDPOINTS ?? 1000);
const RUNNING = Number(process.env.IDLE_RUNNING ?? 50);
const SETTLE_MS = 30_000;
const MEASURE_MS = 60_000;
const AT_ONCE = 8;
const CPU_BAR_PERCENT = 2;
const MEGABYTES_BAR = 1;
/** A Perl process for each connection is a few megabytes. */
const ENGINE_GB = 0.125;
/** `IDLE_TEMPORAL=cluster`: Temporal as in production, on a PostgreSQL of its own, instead of the embedded server. */
const cluster = process.env.IDLE_TEMPORAL === 'cluster' ? await startTemporalCluster() : null;
if (cluster) process.env.TEMPORAL_ADDRESS = cluster.address;
const PROCESSES = ['worker', 'agent', 'api', 'gateway', 'temporal', 'postgres'] as const;

type Cost = Record<string, { percent: number; megabytes: number }>;

const dir = await mkdtemp(join(tmpdir(), 'bench-idle-'));
process.env.PLATFORM_YAML = await roomFor(RUNNING, dir);
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));

await measure((installation) => idle(installation).finally(() => cluster?.stop()));

async function idle(installation: Installation): Promise<boolean> {
  await sleep(SETTLE_MS);
  const empty = await cost(installation);
  const asleep = { minReplica: 0, maxReplica: 1, scaleToZeroTimeout: 60 };
  await inParallel(ASLEEP, async (n) => {
    await installation.create(`asleep-${n}`, { ...STUB_ENGINE, scaling: asleep });
    // Nothing of it has to start: it is put to sleep as it comes.
    await installation.api(
      'POST',
      `/v2/endpoint/${installation.connection.namespace}/asleep-${n}/scale-to-zero`,
    );
  });
  await count(installation, 'scaledToZero', ASLEEP);
  await sleep(SETTLE_MS);
  const sleeping = await cost(installation);
  await inParallel(RUNNING, (n) => installation.create(`running-${n}`, STUB_ENGINE));
  await count(installation, 'running', RUNNING);
  await sleep(SETTLE_MS);
  const serving = await cost(installation);

  const table = (what: keyof Cost[string]) =>
    Object.fromEntries(
      [...PROCESSES, 'all'].map((name) => [
        name,
        {
          'nothing there': rounded(of(empty, name, what)),
          [`${ASLEEP} at zero`]: rounded(of(sleeping, name, what)),
          [`and ${RUNNING} running`]: rounded(of(serving, name, what)),
        },
      ]),
    );
  console.log('CPU, % of a core');
  console.table(table('percent'));
  console.log('resident memory, MB');
  console.table(table('megabytes'));
  const percent = added(empty, sleeping, 'percent');
  const each = added(empty, sleeping, 'megabytes') / ASLEEP;
  const verdicts = [
    {
      bar: `CPU of those at zero < ${CPU_BAR_PERCENT} %`,
      value: rounded(percent),
      met: percent < CPU_BAR_PERCENT,
    },
    { bar: `MB for each one at zero < ${MEGABYTES_BAR}`, value: rounded(each), met: each < MEGABYTES_BAR },
  ];
  console.table(verdicts);
  return verdicts.every(({ met }) => met);
}

/** The platform's file with a machine whose smallest size is as small as the stub engine, and fits so many times. */
async function roomFor(replicas: number, dir: string): Promise<string> {
  const file = join(dir, 'platform.yaml');
  const platform = parseDocument(await readFile(join(import.meta.dirname, '../platform.yaml'), 'utf8'));
  const smallest = ['vendors', 0, 'regions', 0, 'instances', 0];
  platform.setIn(['placement', 'cpuOvercommit'], replicas);
  platform.setIn([...smallest, 'memoryGb'], ENGINE_GB);
  await writeFile(file, platform.toString());
  return file;
}

async function inParallel(count: number, one: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  const work = async () => {
    for (let n = next++; n < count; n = next++) await one(n);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

async function count(installation: Installation, state: string, wanted: number): Promise<void> {
  await eventually(
    `${wanted} ${state}`,
    async () => {
      const rows = await installation.query(
        `SELECT count(*)::int AS n FROM endpoints WHERE state = '${state}'`,
      );
      return rows[0]?.n === wanted;
    },
    { timeoutMs: 1_200_000, everyMs: 1000 },
  );
}

/** Each with the processes it started: a PostgreSQL connection is one. What ends or begins in between counts little. */
async function cost(installation: Installation): Promise<Cost> {
  const rootsOf = (name: string) =>
    name === 'temporal' && cluster ? cluster.pids : [installation.pid(name)];
  const families = () => PROCESSES.map((name) => [name, rootsOf(name).flatMap(familyOf)] as const);
  const used = (pid: number) => attempt(() => cpuSeconds(pid));
  const before = new Map(families().flatMap(([, pids]) => pids.map((pid) => [pid, used(pid)] as const)));
  await sleep(MEASURE_MS);
  return Object.fromEntries(
    families().map(([name, pids]) => {
      const seconds = pids.reduce((sum, pid) => sum + Math.max(used(pid) - (before.get(pid) ?? 0), 0), 0);
      const megabytes = pids.reduce((sum, pid) => sum + attempt(() => rssMegabytes(pid)), 0);
      return [name, { percent: (seconds / MEASURE_MS) * 100_000, megabytes }];
    }),
  );
}

/** A process that ended meanwhile counts nothing. */
function attempt(read: () => number): number {
  try {
    return read() || 0;
  } catch {
    return 0;
  }
}

function of(cost: Cost, name: string, what: keyof Cost[string]): number {
  if (name !== 'all') return cost[name]?.[what] ?? 0;
  return Object.values(cost).reduce((sum, row) => sum + row[what], 0);
}

/** What 1,000 that sleep add to the processes that are ours: a cluster of Temporal is the site's, with caches as it likes. */
function added(from: Cost, to: Cost, what: keyof Cost[string]): number {
  const total = (cost: Cost) => of(cost, 'all', what) - (cluster ? of(cost, 'temporal', what) : 0);
  return total(to) - total(from);
}

function rounded(value: number): number {
  return Number(value.toFixed(2));
}
