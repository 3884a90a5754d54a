import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { loadTemporalConfig } from '../runtime/config.ts';
import { temporalClient } from '../runtime/temporal.ts';
import { FILE, IMAGE, type Installation } from '../test/support/installation.ts';
import { measure, median, printRows } from './support/stage.ts';
import { replicaTimes } from './support/steps.ts';

/**
 * Create → first answer, weights and image present, beside a bare `docker run` + first answer with the same image,
 * weights, limits and isolation; five runs each, in turn. Bar: at most 800 ms over bare, by the medians.
 */
const RUNS = 5;
const BAR_MS = 800;
const QUESTION = JSON.stringify({ messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 8 });
const run = promisify(execFile);

await measure(async (installation) => {
  const client = temporalClient(
    loadTemporalConfig({ ...process.env, TEMPORAL_ADDRESS: installation.connection.temporal }),
  );
  const bare: number[] = [];
  const ours: number[] = [];
  const steps: Record<string, number[]> = {};
  const note = (step: string, ms: number) => {
    steps[step] = [...(steps[step] ?? []), ms];
  };
  // The first endpoint fetches weights and image; it is not measured.
  await installation.create('first');
  await installation.until('first', 'running');
  await installation.remove('first');

  for (let i = 0; i < RUNS; i += 1) {
    bare.push(await bareRun(installation));
    const name = `run-${i}`;
    const asked = Date.now();
    await installation.create(name);
    const created = Date.now();
    await firstAnswer(installation, name);
    const answered = Date.now();
    ours.push(answered - asked);
    const { namespace } = installation.connection;
    const t = await replicaTimes(client, `replica/${namespace}/${name}/1`);
    note('request → created (API)', created - asked);
    note('created → replica workflow', t.workflowStarted - created);
    note('placed and planned', t.fetchScheduled - t.workflowStarted);
    note('weights and image found', t.fetchDone - t.fetchScheduled);
    note('→ Docker asked', t.containerCalled - t.fetchDone);
    note('container created and started', t.containerStarted - t.containerCalled);
    note('engine ready, first inference', t.ready - t.containerStarted);
    note('routed in, answered', answered - t.ready);
    await installation.remove(name);
  }
  await client.connection.close();

  const over = median(ours) - median(bare);
  console.log('\ncreate → first answer');
  printRows({ 'bare docker run': bare, 'this system': ours });
  console.log('where the time of this system goes');
  printRows(steps);
  console.log(
    `over bare: ${Math.round(over)} ms (× ${(median(ours) / median(bare)).toFixed(2)}); bar ${BAR_MS} ms: ${over <= BAR_MS ? 'met' : 'MISSED'}`,
  );
  return over <= BAR_MS;
});

/** Holds until the endpoint is there; a gateway may hear of it a moment after the API has answered. */
async function firstAnswer(installation: Installation, name: string): Promise<void> {
  for (;;) {
    try {
      await installation.chat(name);
      return;
    } catch (error) {
      if (!String(error).includes(': 404 ')) throw error;
      await sleep(5);
    }
  }
}

async function bareRun(installation: Installation): Promise<number> {
  const weights = dirname(process.env.TEST_GGUF ?? '');
  const began = Date.now();
  const { stdout } = await run('docker', [
    ...['run', '--detach', '--init', '--network', `endpoints-${installation.installationId}`],
    ...['--publish', '127.0.0.1::8080', '--volume', `${weights}:/repository:ro`],
    ...['--cpus', '1', '--memory', '2g', '--pids-limit', '4096', '--cap-drop', 'ALL'],
    ...['--security-opt', 'no-new-privileges', '--env', 'LLAMA_API_KEY=bare', IMAGE],
    ...['-m', `/repository/${FILE}`, '--host', '0.0.0.0', '--port', '8080', '--ctx-size', '1024'],
    ...['--parallel', '2', '--threads-http', '2', '--threads', '1', '--metrics'],
  ]);
  const id = stdout.trim();
  try {
    const { stdout: port } = await run('docker', ['port', id, '8080']);
    const address = `http://${port.trim().split('\n')[0]}`;
    while (!(await answers(`${address}/health`))) await sleep(20);
    const response = await fetch(`${address}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer bare', 'content-type': 'application/json' },
      body: QUESTION,
    });
    await response.json();
    return Date.now() - began;
  } finally {
    await run('docker', ['rm', '--force', id]);
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url)).status === 200;
  } catch {
    return false;
  }
}
