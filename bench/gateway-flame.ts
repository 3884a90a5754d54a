import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../test/support/ports.ts';
import { stopSharedPostgres } from '../test/support/postgres.ts';
import { ours, REPLICAS } from './gateway/contenders.ts';
import { startUpstream } from './gateway/native.ts';
import { accepts, has, installMissing, pinSelf } from './gateway/processes.ts';
import { wrk } from './gateway/wrk.ts';
import { flameGraph } from './support/flame.ts';

/**
 * Where the gateway's time goes: a flame graph of 64 connections that ask without a pause, in
 * `docs/images/gateway-flame.svg`. `BENCH_SECONDS` (default 8) is how long; the first half warms up.
 */
const SECONDS = Number(process.env.BENCH_SECONDS ?? 8);
const IMAGE = join(import.meta.dirname, '../docs/images/gateway-flame.svg');

installMissing({ wrk: 'wrk' });
if (!has('wrk') || !has('taskset')) {
  console.error('bench gateway-flame: needs wrk and taskset: apt-get install wrk util-linux');
  process.exit(1);
}
pinSelf(1);
const dir = await mkdtemp(join(tmpdir(), 'bench-flame-'));
const ports = await Promise.all(Array.from({ length: REPLICAS }, freePort));
const upstream = startUpstream(1, dir, ports);
await accepts(ports[0] ?? 0);
process.env.BENCH_PROFILE = dir;
const gateway = await ours(ports, dir);
try {
  const { perSecond } = await wrk(gateway.target, { connections: 64, seconds: SECONDS, dir });
  // It writes its profile when it ends.
  await gateway.process.stop();
  const file = (await readdir(dir)).find((name) => name.includes(`.${gateway.process.pid}.0.`));
  if (!file) throw new Error(`the gateway left no profile in ${dir}`);
  const svg = await flameGraph(join(dir, file), {
    title: 'The gateway under load, by time: ours orange, Node blue, the kernel and V8 grey, garbage red',
    lastSeconds: SECONDS / 2,
  });
  await writeFile(IMAGE, svg);
  console.log(`${Math.round(perSecond)} requests/s while profiled; ${IMAGE}`);
} finally {
  await upstream.stop();
  await gateway.close();
  await stopSharedPostgres();
  await rm(dir, { recursive: true, force: true });
}
process.exit(0);
