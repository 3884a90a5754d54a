import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { scrape } from '../test/gateway/scrape.ts';
import { eventually } from '../test/support/eventually.ts';
import { freePort } from '../test/support/ports.ts';
import { stopSharedPostgres } from '../test/support/postgres.ts';
import { open, requestText, type Target } from './gateway/client.ts';
import { ours } from './gateway/contenders.ts';
import { quantile } from './gateway/measures.ts';
import { startUpstream } from './gateway/native.ts';
import { accepts, cpuSeconds, rssMegabytes } from './gateway/processes.ts';
import { stamp } from './gateway/stamp.ts';

/**
 * What waiting costs one gateway process: idle keep-alive connections, and requests held for endpoints without a
 * replica until both get one. Fails when a held request gets no answer.
 */
const IDLE = 5000;
const HELD_ENDPOINTS = 2;
/** What the site allows each endpoint (`maxHeldRequests`). */
const HELD_EACH = 1000;
const BATCH = 100;
const ASKED = 300;
const IDLE_SECONDS = 3;

const needed = IDLE + 2 * HELD_ENDPOINTS * HELD_EACH + 200;
// Node itself raises the soft limit to the hard one.
const allowed = Number(
  /Max open files\s+\S+\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 0,
);
if (allowed < needed) {
  console.error(
    `bench gateway-idle: a process may have ${allowed} open files here and needs ${needed}: raise the hard limit (ulimit -Hn)`,
  );
  process.exit(1);
}

const dir = await mkdtemp(join(tmpdir(), 'bench-idle-'));
const upstreamPort = await freePort();
const upstream = startUpstream(1, dir, [upstreamPort]);
await accepts(upstreamPort);
const gateway = await ours([upstreamPort], dir);
const { pid } = gateway.process;
let answered = 0;
try {
  await asked(gateway.target);
  const before = { rss: rssMegabytes(pid), p50: quantile(await asked(gateway.target), 0.5) };

  const idle = await connections(gateway.target, IDLE);
  const withIdle = rssMegabytes(pid);
  const cpuBefore = cpuSeconds(pid);
  await sleep(IDLE_SECONDS * 1000);
  const idleCpu = (cpuSeconds(pid) - cpuBefore) / IDLE_SECONDS;
  const p50 = quantile(await asked(gateway.target), 0.5);

  const { world } = gateway;
  const asleep = await Promise.all(
    Array.from({ length: HELD_ENDPOINTS }, () => world.addEndpoint({ state: 'initializing' })),
  );
  const targets = asleep.map(({ path }) => ({ ...gateway.target, prefix: path }));
  const held = await hold(targets);
  const withHeld = rssMegabytes(pid);
  const woken = stamp();
  for (const endpoint of asleep) await world.addReplica(endpoint, `127.0.0.1:${upstreamPort}`);
  const times = (await Promise.all(held.answers)).map((at) => at - woken);
  answered = times.length;
  const connected = HELD_ENDPOINTS * HELD_EACH;
  console.table({
    'RSS MB': { value: round(before.rss) },
    [`RSS MB with ${IDLE} idle connections`]: { value: round(withIdle) },
    'KiB per idle connection': { value: round(((withIdle - before.rss) * 1024) / IDLE) },
    '% of a core for idle connections': { value: round(idleCpu * 100) },
    'ms of a request before, p50': { value: round(before.p50) },
    'ms of a request beside them, p50': { value: round(p50) },
    [`RSS MB with ${connected} held requests more`]: { value: round(withHeld) },
    'KiB per held request (1 KiB body)': { value: round(((withHeld - withIdle) * 1024) / connected) },
    'ms from route to first answer': { value: round(Math.min(...times)) },
    'ms from route to half of them': { value: round(quantile(times, 0.5)) },
    'ms from route to the last answer': { value: round(Math.max(...times)) },
    'RSS MB afterwards': { value: round(rssMegabytes(pid)) },
  });
  for (const socket of [...idle, ...held.sockets]) socket.destroy();
} finally {
  await gateway.process.stop();
  await upstream.stop();
  await gateway.close();
  await stopSharedPostgres();
  await rm(dir, { recursive: true, force: true });
}
process.exit(answered === HELD_ENDPOINTS * HELD_EACH ? 0 : 1);

/** Times of requests one after the other. */
async function asked(target: Target): Promise<number[]> {
  const socket = await open(target.port);
  const times: number[] = [];
  for (let i = 0; i < ASKED; i += 1) {
    const begun = stamp();
    await answer(socket, target);
    times.push(stamp() - begun);
  }
  socket.destroy();
  return times;
}

/** Connections that had a request each. */
async function connections(target: Target, count: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const batch = await Promise.all(Array.from({ length: BATCH }, () => open(target.port)));
    await Promise.all(batch.map((socket) => answer(socket, target)));
    sockets.push(...batch);
  }
  return sockets;
}

/** Requests for endpoints that cannot answer yet; resolves when the gateway holds them all. */
async function hold(targets: readonly Target[]): Promise<{ sockets: Socket[]; answers: Promise<number>[] }> {
  const sockets: Socket[] = [];
  const answers: Promise<number>[] = [];
  for (const target of targets) {
    await eventually('the gateway knows the endpoint', async () => (await status(target)) === 503);
    for (let i = 0; i < HELD_EACH; i += BATCH) {
      const batch = await Promise.all(Array.from({ length: BATCH }, () => open(target.port)));
      answers.push(...batch.map((socket) => answer(socket, target)));
      sockets.push(...batch);
    }
  }
  const port = targets[0]?.port ?? 0;
  await eventually(
    'all are held',
    async () => (await scrape(port)).total('gateway_held_requests') === HELD_ENDPOINTS * HELD_EACH,
  );
  return { sockets, answers };
}

/** Of a request that is not held: 404 until the gateway has heard of the endpoint, then 503. */
async function status(target: Target): Promise<number> {
  const [header = ''] = target.headers;
  const headers = { authorization: header.slice('authorization: '.length), 'x-scale-up-timeout': '0' };
  const response = await fetch(`http://127.0.0.1:${target.port}${target.prefix}/`, { headers });
  await response.text();
  return response.status;
}

/** Resolves with the moment of the answer. @throws Error when it is not 200 or the connection ends without it */
function answer(socket: Socket, target: Target): Promise<number> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(new Error('the connection ended without an answer'));
    socket.once('close', gone);
    socket.once('data', (text: string) => {
      socket.off('close', gone);
      if (text.startsWith('HTTP/1.1 200')) resolve(stamp());
      else reject(new Error(`an answer was not 200: ${text}`));
    });
    socket.write(requestText(target, 'fast'));
  });
}

function round(value: number): number {
  return Number(value.toPrecision(3));
}
