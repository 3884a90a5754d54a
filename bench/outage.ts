import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPostgres } from '../cli/services/postgres.ts';
import { migrate, openStore } from '../store/database.ts';
import { ask, bearer } from '../test/gateway/client.ts';
import { createWorld } from '../test/gateway/world.ts';
import { eventually } from '../test/support/eventually.ts';
import { freePort } from '../test/support/ports.ts';
import { startGateway } from './gateway/gateway.ts';
import { Caller } from './soak/caller.ts';
import { Engines } from './soak/engines.ts';
import { median } from './support/stage.ts';

/**
 * A gateway whose store is stopped for `OUTAGE_MINUTES` (default 5), and which never had a Temporal server: requests must be
 * answered as before, and a token that is revoked as soon as the store is back must be refused within a second.
 */
const MINUTES = Number(process.env.OUTAGE_MINUTES ?? 5);
const REQUESTS_PER_SECOND = 50;
const REVOKED_WITHIN_MS = 1000;
const QUIET_MS = 10_000;

const dir = await mkdtemp(join(tmpdir(), 'outage-'));
const storePort = await freePort();
const startStore = () => startPostgres({ dir: join(dir, 'data'), port: storePort });
let postgres = await startStore();
const store = openStore(postgres.url);
await migrate(store);
const world = await createWorld({ url: postgres.url, store, drop: () => store.destroy() });
const endpoint = await world.addEndpoint();
const locked = await world.addEndpoint({ type: 'private' });
const engines = new Engines(world, endpoint);
for (let n = 0; n < 3; n++) await engines.add();
const lockedEngines = new Engines(world, locked);
await lockedEngines.add();
const token = await world.token();
const gateway = await startGateway(0, { databaseUrl: postgres.url, secretKey: world.secretKey, dir });
const { port } = gateway;
let met = false;
try {
  met = await outage();
} finally {
  await gateway.stop();
  engines.closeAll();
  lockedEngines.closeAll();
  await world.close();
  await postgres.stop();
  await rm(dir, { recursive: true, force: true });
}
process.exit(met ? 0 : 1);

async function outage(): Promise<boolean> {
  const status = async () => (await ask(port, `${locked.path}/short`, { headers: bearer(token) })).status;
  const before = new Caller(port, endpoint.path);
  await before.atRate(REQUESTS_PER_SECOND, Date.now() + QUIET_MS);
  if ((await status()) !== 200) throw new Error('the token is not taken while the store is there');

  await postgres.stop();
  const during = new Caller(port, endpoint.path);
  const asking = during.atRate(REQUESTS_PER_SECOND, Date.now() + MINUTES * 60_000);
  let refused = 0;
  let asked = 0;
  const end = Date.now() + MINUTES * 60_000;
  while (Date.now() < end) {
    asked += 1;
    if ((await status()) !== 200) refused += 1;
    await sleep(1000);
  }
  await asking;

  postgres = await startStore();
  await eventually('the store takes writes', () => world.revoke(token).then(() => true), {
    timeoutMs: 30_000,
  });
  const revokedAt = performance.now();
  await eventually('the token is refused', async () => (await status()) === 401, {
    timeoutMs: 60_000,
    everyMs: 20,
  });
  const revokedMs = Math.round(performance.now() - revokedAt);
  for (const caller of [before, during]) caller.close();

  const p50 = ({ tally }: Caller) => median(tally.short.map(({ ms }) => ms));
  const { tally } = during;
  console.table({
    'requests before and during': `${before.tally.sent} ${tally.sent}`,
    'short p50 ms, before and during': `${p50(before).toFixed(1)} ${p50(during).toFixed(1)}`,
    'with a token, during': asked,
  });
  const verdicts = [
    { bar: 'failed requests', value: tally.failed.length, met: tally.failed.length === 0 },
    { bar: 'streams cut', value: tally.cut.length, met: tally.cut.length === 0 },
    { bar: 'good tokens refused', value: refused, met: refused === 0 },
    {
      bar: `revoked after ms ≤ ${REVOKED_WITHIN_MS}`,
      value: revokedMs,
      met: revokedMs <= REVOKED_WITHIN_MS,
    },
  ];
  console.table(verdicts);
  return verdicts.every((verdict) => verdict.met);
}
