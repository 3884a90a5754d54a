import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { devServerArguments, temporalAnswers } from '../../cli/services/temporal.ts';
import { loadTemporalConfig, type TemporalConfig } from '../../runtime/config.ts';
import { temporalClient } from '../../runtime/temporal.ts';
import { eventually } from './eventually.ts';
import { freePort } from './ports.ts';

export interface TestTemporal {
  config: TemporalConfig;
  client: ReturnType<typeof temporalClient>;
  stop(): Promise<void>;
}

const ROLLOVER_EVENTS = Number(process.env.TEST_ROLLOVER_EVENTS ?? 100);

let shared: Promise<TestTemporal> | undefined;

/**
 * A real Temporal server for the whole test process, tuned as `npm start` tunes it; stopped by the root hook. The
 * runner names the binary in `TEMPORAL_CLI_PATH`.
 */
export function sharedTemporal(): Promise<TestTemporal> {
  shared ??= startTemporal();
  return shared;
}

export async function stopSharedTemporal(): Promise<void> {
  if (shared) await (await shared).stop();
  shared = undefined;
}

async function startTemporal(): Promise<TestTemporal> {
  const dir = mkdtempSync(join(tmpdir(), 'temporal-'));
  const port = await freePort();
  const config = loadTemporalConfig({ ...process.env, TEMPORAL_ADDRESS: `127.0.0.1:${port}` });
  // Roll over every so many events instead of 4,096, so that tests meet continue-as-new at any moment.
  config.devServer.dynamicConfig['limit.historyCount.suggestContinueAsNew'] = ROLLOVER_EVENTS;
  const args = devServerArguments({
    binary: '',
    dbFile: join(dir, 'temporal.db'),
    host: '127.0.0.1',
    port,
    uiPort: await freePort(),
    config,
    env: process.env,
    logFile: '',
  });
  const child: ChildProcess = spawn(process.env.TEMPORAL_CLI_PATH || 'temporal', args, { stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await eventually('Temporal answers', () => temporalAnswers(config.address), { timeoutMs: 60_000 });
  const client = temporalClient(config);
  return {
    config,
    client,
    stop: async () => {
      await client.connection.close();
      child.kill('SIGKILL');
      await exited;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
