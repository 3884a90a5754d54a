import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { drainState } from '../store/routes.ts';
import { scrape } from '../test/gateway/scrape.ts';
import { createWorld } from '../test/gateway/world.ts';
import { eventually } from '../test/support/eventually.ts';
import { stopSharedPostgres } from '../test/support/postgres.ts';
import { startGateway } from './gateway/gateway.ts';
import { rssMegabytes } from './gateway/processes.ts';
import { Caller } from './soak/caller.ts';
import { Engines } from './soak/engines.ts';
import { median } from './support/stage.ts';

/**
 * The gateway for `SOAK_MINUTES` (default 10) at 70 % of what it can do here, while every 5 s an engine comes and another one
 * dies or is drained, and clients leave at random. Exits non-zero when a request that was not streamed fails, an answer is
 * missing, doubled or somebody else's, a stream ends early whose engine lives, an engine without a route is asked, a counter
 * stays above zero, or memory grows.
 */
const MINUTES = Number(process.env.SOAK_MINUTES ?? 10);
const CHANGE_EVERY_MS = 5000;
const LOAD_SHARE = 0.7;
const ENGINES = 4;
const MEASURE_SECONDS = 5;
const AT_ONCE = 64;
/** Between the second and the last quarter of the run; a garbage collector is not exact to less. */
const GROWTH_MEGABYTES = 25;

const dir = await mkdtemp(join(tmpdir(), 'soak-'));
const world = await createWorld();
const endpoint = await world.addEndpoint();
const engines = new Engines(world, endpoint);
for (let n = 0; n < ENGINES; n++) await engines.add();
const gateway = await startGateway(0, { databaseUrl: world.db.url, secretKey: world.secretKey, dir });
const { port } = gateway;
let met = false;
try {
  met = await soak();
} finally {
  await gateway.stop();
  engines.closeAll();
  await world.close();
  await stopSharedPostgres();
  await rm(dir, { recursive: true, force: true });
}
process.exit(met ? 0 : 1);

async function soak(): Promise<boolean> {
  const caller = new Caller(port, endpoint.path);
  const most = await caller.flatOut(MEASURE_SECONDS, AT_ONCE);
  const rate = Math.floor(most * LOAD_SHARE);
  console.log(`${Math.round(most)} requests/s at most, ${rate} for ${MINUTES} minutes`);
  const until = Date.now() + MINUTES * 60_000;
  const memory: number[] = [];
  const changes = change(until);
  const watching = watch(until, memory);
  await caller.atRate(rate, until);
  await Promise.all([changes, watching]);
  const atRest = await eventually('counters at zero', async () => (await scrape(port)).atRest).then(
    () => true,
    () => false,
  );
  caller.close();

  const { tally, complete } = caller;
  const doubled = [...engines.answers].filter(([id, count]) => count > 1 && complete.has(id)).length;
  const unfounded = tally.cut.filter((replica) => !engines.died.has(replica)).length;
  const quarter = Math.floor(memory.length / 4);
  const growth = median(memory.slice(-quarter)) - median(memory.slice(quarter, 2 * quarter));
  const sorted = tally.short.map(({ ms }) => ms).sort((a, b) => a - b);
  const at = (share: number) => Number((sorted[Math.floor(sorted.length * share)] ?? Number.NaN).toFixed(1));
  console.table({
    requests: tally.sent,
    answered: tally.answered,
    'left by their client': tally.left,
    'streams cut': tally.cut.length,
    'engines killed': engines.died.size,
    'engines drained': engines.drains,
    'short p50 ms': at(0.5),
    'short p99 ms': at(0.99),
    'memory MB, median': Math.round(median(memory)),
  });
  for (const what of new Set(tally.failed.slice(0, 20))) console.log(`failed: ${what}`);
  const verdicts = [
    { bar: 'failed requests', value: tally.failed.length, met: tally.failed.length === 0 },
    { bar: 'answers whose request ran to its end twice', value: doubled, met: doubled === 0 },
    { bar: 'streams cut while their engine lived', value: unfounded, met: unfounded === 0 },
    { bar: 'requests to engines without a route', value: engines.misplaced, met: engines.misplaced === 0 },
    { bar: 'counters at zero in the end', value: Number(atRest), met: atRest },
    {
      bar: `memory growth ≤ ${GROWTH_MEGABYTES} MB`,
      value: Number(growth.toFixed(1)),
      met: growth <= GROWTH_MEGABYTES,
    },
    {
      bar: 'every request accounted for',
      value: tally.sent,
      met: tally.sent === tally.answered + tally.left + tally.cut.length + tally.failed.length,
    },
  ];
  console.table(verdicts);
  return verdicts.every((verdict) => verdict.met);
}

/** One engine comes, then the oldest one dies or is drained, in turns. */
async function change(until: number): Promise<void> {
  for (let turn = 0; Date.now() < until - CHANGE_EVERY_MS; turn++) {
    await sleep(CHANGE_EVERY_MS);
    await engines.add();
    if (turn % 2) await engines.killOldest();
    else
      await engines.drainOldest(async (replicaId, version) => {
        const { caughtUp, inFlight } = await drainState(world.db.store, { replicaId, version });
        return caughtUp && inFlight === 0;
      });
  }
}

async function watch(until: number, memory: number[]): Promise<void> {
  while (Date.now() < until) {
    memory.push(rssMegabytes(gateway.pid));
    await sleep(1000);
  }
}
