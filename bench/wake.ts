import { loadTemporalConfig } from '../runtime/config.ts';
import { temporalClient } from '../runtime/temporal.ts';
import { eventually } from '../test/support/eventually.ts';
import type { Installation } from '../test/support/installation.ts';
import { measure, median, printRows } from './support/stage.ts';
import { replicaTimes } from './support/steps.ts';

/**
 * A request to a sleeping endpoint, ten times. The platform's own share is the time from the request to the call that
 * starts the container, plus the time from the engine being ready to the first byte of the answer, less what the engine
 * itself says it needed for that answer. Bar: 250 ms, by the median.
 */
const RUNS = 10;
const BAR_MS = 250;

await measure(async (installation) => {
  const client = temporalClient(
    loadTemporalConfig({ ...process.env, TEMPORAL_ADDRESS: installation.connection.temporal }),
  );
  const { namespace } = installation.connection;
  await installation.create('sleeper', { scaling: { minReplica: 0, scaleToZeroTimeout: 60 } });
  await installation.until('sleeper', 'running');

  const rows: Record<string, number[]> = {};
  const note = (step: string, ms: number) => {
    rows[step] = [...(rows[step] ?? []), ms];
  };
  for (let i = 0; i < RUNS; i += 1) {
    await installation.api('POST', `/v2/endpoint/${namespace}/sleeper/scale-to-zero`);
    await eventually('asleep', async () => {
      const { status } = await installation.get('sleeper');
      return (
        status.state === 'scaledToZero' &&
        (await installation.containers('sleeper')).length === 0 &&
        !status.message.includes('stopping')
      );
    });
    const asked = Date.now();
    const { firstByteAt, engineMs } = await timedChat(installation, 'sleeper');
    const t = await replicaTimes(client, `replica/${namespace}/sleeper/${i + 2}`);
    const before = t.containerCalled - asked;
    const after = firstByteAt - t.ready - engineMs;
    note('request → replica workflow', t.workflowStarted - asked);
    note('replica workflow → weights and image found', t.fetchDone - t.workflowStarted);
    note('→ Docker asked', t.containerCalled - t.fetchDone);
    note('Docker and engine: asked → ready', t.ready - t.containerCalled);
    note('ready → first byte, less the engine', after);
    note('the answer itself, by the engine', engineMs);
    note('in all', firstByteAt - asked);
    note('PLATFORM SHARE', before + after);
  }
  await client.connection.close();
  console.log('\na request to a sleeping endpoint');
  printRows(rows);
  const share = median(rows['PLATFORM SHARE'] ?? []);
  console.log(
    `platform share: ${Math.round(share)} ms; bar ${BAR_MS} ms: ${share <= BAR_MS ? 'met' : 'MISSED'}`,
  );
  return share <= BAR_MS;
});

/** One short answer; llama.cpp says in `timings` how long it took for it. */
async function timedChat(
  installation: Installation,
  name: string,
): Promise<{ firstByteAt: number; engineMs: number }> {
  const { gateway, namespace, token } = installation.connection;
  const response = await fetch(`${gateway}/${namespace}/${name}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 4 }),
  });
  const firstByteAt = Date.now();
  if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
  const { timings } = (await response.json()) as { timings: { prompt_ms: number; predicted_ms: number } };
  return { firstByteAt, engineMs: timings.prompt_ms + timings.predicted_ms };
}
