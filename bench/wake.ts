import type { Client } from '@temporalio/client';
import { openDocker } from '../activities/containers/docker.ts';
import { loadTemporalConfig } from '../runtime/config.ts';
import { temporalClient } from '../runtime/temporal.ts';
import type { StandbyMode } from '../spec/states.ts';
import { eventually } from '../test/support/eventually.ts';
import type { Installation } from '../test/support/installation.ts';
import { measure, median, printRows } from './support/stage.ts';
import { wakeTimes } from './support/steps.ts';
import { rawTimes } from './wake/raw.ts';

/**
 * A request to a sleeping endpoint by what is kept of it, beside the same done with Docker alone, in turn. The platform's
 * own share is the time from the request to the call to Docker, plus the time from the engine being ready to the first
 * byte of the answer, less what the engine itself says it needed for that answer. Bars go by medians, in milliseconds, and
 * by how much slower Docker alone is here than on the machine they were set on.
 */
const ROUNDS = Number(process.env.BENCH_ROUNDS || 10);
const BARS = { share: 150, overRaw: 150, frozen: 120 };
/** `docker run` to the answer on the machine that the bars were set on. */
const REFERENCE_RUN_MS = 489;
const QUESTION = JSON.stringify({ messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 4 });

type Rows = Record<string, number[]>;

await measure(async (installation) => {
  const client = temporalClient(
    loadTemporalConfig({ ...process.env, TEMPORAL_ADDRESS: installation.connection.temporal }),
  );
  const steps: Record<StandbyMode, Rows> = { none: {}, stopped: {}, frozen: {} };
  const raw: Rows = {};
  for (const standby of ['none', 'stopped', 'frozen'] as const) {
    await installation.create(standby, { scaling: { minReplica: 0, scaleToZeroTimeout: 60, standby } });
    await installation.until(standby, 'running');
    await sleep(installation, standby);
  }
  const networkId = await networkOf(installation);
  for (let round = 0; round < ROUNDS; round += 1) {
    const { run, start, unpause } = await rawTimes(networkId, QUESTION);
    note(raw, 'docker run', run);
    note(raw, 'docker start', start);
    note(raw, 'docker unpause', unpause);
    for (const standby of ['none', 'stopped', 'frozen'] as const) {
      await wakeOnce(installation, client, standby, steps[standby]);
      await sleep(installation, standby);
    }
  }
  await client.connection.close();
  console.log(`\nDocker alone, from the call to the answer, ${ROUNDS} rounds`);
  printRows(raw);
  for (const standby of ['none', 'stopped', 'frozen'] as const) {
    console.log(`a request to a sleeping endpoint, standby ${standby}`);
    printRows(steps[standby]);
  }
  const of = (rows: Rows, row: string) => median(rows[row] ?? []);
  const run = of(raw, 'docker run');
  const slower = Math.max(run / REFERENCE_RUN_MS, 1);
  const meets = (what: string, ms: number, bar: number) => {
    const met = ms <= bar * slower;
    console.log(
      `${what}: ${Math.round(ms)} ms; bar ${bar} ms, here ${Math.round(bar * slower)} ms: ${met ? 'met' : 'MISSED'}`,
    );
    return met;
  };
  return [
    meets('platform share with none', of(steps.none, 'PLATFORM SHARE'), BARS.share),
    meets('whole wake over docker run', of(steps.none, 'IN ALL') - run, BARS.overRaw),
    meets('whole answer from frozen', of(steps.frozen, 'IN ALL'), BARS.frozen),
  ].every(Boolean);
});

function note(rows: Rows, step: string, ms: number): void {
  rows[step] = [...(rows[step] ?? []), ms];
}

async function wakeOnce(installation: Installation, client: Client, name: StandbyMode, rows: Rows) {
  const asked = Date.now();
  const { firstByteAt, engineMs } = await timedChat(installation, name);
  const number = await newestReplica(installation, name);
  const t = await wakeTimes(client, `replica/${installation.connection.namespace}/${name}/${number}`);
  const after = firstByteAt - t.ready - engineMs;
  note(rows, 'request → replica workflow', t.told - asked);
  note(rows, '→ step for the host, with place and plan', t.scheduled - t.told);
  note(rows, '→ Docker asked', t.called - t.scheduled);
  note(rows, 'Docker and engine: asked → ready', t.ready - t.called);
  note(rows, 'ready → first byte, less the engine', after);
  note(rows, 'the answer itself, by the engine', engineMs);
  note(rows, 'PLATFORM SHARE', t.called - asked + after);
  note(rows, 'IN ALL', firstByteAt - asked);
}

/** Scaled to zero, nothing under way any more. */
async function sleep(installation: Installation, name: StandbyMode): Promise<void> {
  await installation.api('POST', `/v2/endpoint/${installation.connection.namespace}/${name}/scale-to-zero`);
  await eventually(
    `${name} asleep`,
    async () => {
      const { status } = await installation.get(name);
      return status.state === 'scaledToZero' && !status.message.includes('stopping');
    },
    { timeoutMs: 90_000 },
  );
}

async function newestReplica(installation: Installation, name: string): Promise<number> {
  const sql = `SELECT max(r.number) AS number FROM replicas r JOIN endpoints e ON e.id = r.endpoint_id WHERE e.name = '${name}'`;
  const [row] = await installation.query(sql);
  return Number(row?.number);
}

async function networkOf({ installationId }: Installation): Promise<string> {
  const name = `endpoints-${installationId}`;
  const found = await openDocker().listNetworks({ filters: { name: [name] } });
  return found.find((network) => network.Name === name)?.Id ?? name;
}

/** One short answer; llama.cpp says in `timings` how long it took for it. */
async function timedChat(
  installation: Installation,
  name: string,
): Promise<{ firstByteAt: number; engineMs: number }> {
  const { gateway, namespace, token } = installation.connection;
  const response = await fetch(`${gateway}/${namespace}/${name}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: QUESTION,
  });
  const firstByteAt = Date.now();
  if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
  const { timings } = (await response.json()) as { timings: { prompt_ms: number; predicted_ms: number } };
  return { firstByteAt, engineMs: timings.prompt_ms + timings.predicted_ms };
}
