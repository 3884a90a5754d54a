import { relative } from 'node:path';
import { abortOnSignals } from '../interrupt.ts';
import { addresses } from '../up/environment.ts';
import { type Installation, openInstallation } from '../up/installation.ts';
import { processSteps } from '../up/process-steps.ts';
import { curlExample, type SampleOutcome, sampleSteps } from '../up/sample-steps.ts';
import { serviceSteps } from '../up/services-steps.ts';
import { readSettings, type Settings } from '../up/settings.ts';
import { runSteps } from '../up/step.ts';
import type { SupervisorEvent } from '../up/supervisor.ts';

/**
 * Brings everything up on this machine and keeps it running until SIGINT or SIGTERM. Resolves with the exit code.
 * @throws ConfigError, CliError; whatever was started has ended then
 */
export async function up(options: { sample: boolean }): Promise<number> {
  const settings = readSettings(options);
  const installation = await openInstallation(settings, (event) => console.log(describe(event)));
  const { leftovers, stopping } = installation;
  if (leftovers.length) console.log(`ended what an earlier start left running: ${leftovers.join(', ')}`);
  const stopped = new Promise<void>((resolve) => stopping.signal.addEventListener('abort', () => resolve()));
  abortOnSignals(stopping);

  try {
    const started = performance.now();
    const outcome: SampleOutcome = {};
    const steps = [
      ...serviceSteps(installation),
      ...processSteps(installation),
      ...(options.sample ? sampleSteps(installation, outcome) : []),
    ];
    // A step that waits for a process would notice only late that we are to stop.
    await Promise.race([runSteps(steps, stopping.signal), stopped]);
    if (!stopping.signal.aborted) console.log(summary(installation, outcome, performance.now() - started));
    await stopped;
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
  } finally {
    await installation.close();
  }
  console.log('stopped; engine containers were left running');
  return 0;
}

function describe(event: SupervisorEvent): string {
  const time = new Date().toISOString().slice(11, 19);
  switch (event.kind) {
    case 'ended':
      return `${time} ${event.name} ended (${event.how}); starting it again in ${event.restartInMs / 1000} s`;
    case 'failed':
      return `${time} ${event.why}; trying again in ${event.restartInMs / 1000} s`;
    case 'restarted':
      return `${time} ${event.name} runs again (process ${event.pid})`;
  }
}

function summary({ settings, found }: Installation, outcome: SampleOutcome, tookMs: number): string {
  const { api, gateway } = addresses(settings);
  const connectionFile = connectionPath(settings);
  const { temporalServer } = settings;
  const lines = [
    `up in ${(tookMs / 1000).toFixed(1)} s`,
    '',
    ...(outcome.answer === undefined ? [] : [`the sample model says: ${outcome.answer}`, '']),
    `  API          ${api} (documentation: ${api}/docs)`,
    `  Gateway      ${gateway}`,
    ...('uiPort' in temporalServer
      ? [`  Temporal UI  http://${temporalServer.host}:${temporalServer.uiPort}`]
      : [`  Temporal     ${found.temporalAddress}`]),
    `  Token        ${found.token} (also in ${connectionFile})`,
    ...(outcome.url ? ['', curlExample(outcome.url, connectionFile)] : []),
    '',
    "Ctrl-C stops these processes; engine containers go on until 'npm run endpoints -- down'.",
  ];
  return lines.join('\n');
}

function connectionPath({ dataDir }: Settings): string {
  const path = relative(process.cwd(), dataDir);
  return `${path.startsWith('..') ? dataDir : path || '.'}/connection.json`;
}
