import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { EndpointCreate, EndpointWithStatus } from '../../spec/endpoint.ts';
import { CliError } from '../errors.ts';
import { addresses } from './environment.ts';
import { type Installation, need } from './installation.ts';
import { LOCAL_USER } from './process-steps.ts';
import type { Settings } from './settings.ts';
import type { Step } from './step.ts';

const RUNNING_DEADLINE_MS = 15 * 60_000;
/** One that even this small model answers well. */
const QUESTION = 'Write one sentence about the sea.';

const chatAnswer = z.object({
  choices: z.array(z.object({ message: z.object({ content: z.string() }) })).min(1),
});

/** What the sample steps leave for the closing lines. */
export interface SampleOutcome {
  url?: string;
  answer?: string;
}

/**
 * Brings up the sample endpoint as any user would, through the API, and asks it something through the gateway. Optional:
 * an installation whose sample does not start is still up, and its cause is best looked for in the Temporal UI.
 */
export function sampleSteps(up: Installation, outcome: SampleOutcome): Step[] {
  return [
    {
      title: `Sample endpoint '${up.settings.platform.sample.name}'`,
      optional: true,
      run: async (progress) => {
        const endpoint = await untilRunning(up, await findOrCreate(up), progress);
        if (endpoint.status.url) outcome.url = endpoint.status.url;
        return endpoint.status.state;
      },
    },
    {
      title: 'Chat answer',
      optional: true,
      run: async () => {
        if (!outcome.url) throw new CliError('the sample endpoint has no address');
        outcome.answer = await ask(outcome.url, need(up, 'token'), up.stopping.signal);
        return 'came';
      },
    },
  ];
}

/** What a user would write for the sample: the smallest instance, one replica that stays. */
export function sampleEndpoint({ platform }: Pick<Settings, 'platform'>): EndpointCreate {
  const vendor = platform.vendors[0];
  const region = vendor?.regions[0];
  const instance = region?.instances[0];
  if (!vendor || !region || !instance)
    throw new CliError('platform.yaml: vendors: no instance to run the sample on');
  return {
    name: platform.sample.name,
    type: 'authenticated',
    provider: { vendor: vendor.name, region: region.name },
    compute: {
      accelerator: instance.accelerator,
      instanceType: instance.type,
      instanceSize: instance.size,
      scaling: { minReplica: 1, maxReplica: 1, scaleToZeroTimeout: null },
    },
    model: {
      repository: platform.sample.repository,
      framework: 'llamacpp',
      task: 'text-generation',
      image: {
        llamacpp: {
          url: platform.engines.llamacpp.image,
          modelPath: platform.sample.file,
          ctxSize: 2048,
          nParallel: 2,
          threadsHttp: 4,
        },
      },
    },
  };
}

/** The command a user can paste. The token comes from the file, so that it lands in no shell history. */
export function curlExample(url: string, connectionFile: string): string {
  return [
    `TOKEN=$(node -p 'JSON.parse(fs.readFileSync("${connectionFile}")).token')`,
    `curl ${url}/v1/chat/completions -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\`,
    `  -d '{"messages":[{"role":"user","content":"${QUESTION}"}],"max_tokens":64}'`,
  ].join('\n');
}

async function findOrCreate(up: Installation): Promise<EndpointWithStatus> {
  const { name } = up.settings.platform.sample;
  const found = await api(up, 'GET', `/v2/endpoint/${LOCAL_USER}/${name}`);
  if (found) return found;
  const made = await api(up, 'POST', `/v2/endpoint/${LOCAL_USER}`, sampleEndpoint(up.settings));
  if (!made) throw new CliError('the API has no endpoints under /v2/endpoint');
  return made;
}

async function untilRunning(
  up: Installation,
  first: EndpointWithStatus,
  onProgress: (text: string) => void,
): Promise<EndpointWithStatus> {
  const deadline = performance.now() + RUNNING_DEADLINE_MS;
  let endpoint: EndpointWithStatus | undefined = first;
  for (;;) {
    if (!endpoint) throw new CliError('the sample endpoint was deleted while it started');
    const { state, message, errorMessage } = endpoint.status;
    if (state === 'paused') throw new CliError('it is paused: resume it to talk to it');
    if (state === 'failed') throw new CliError(`it failed: ${errorMessage ?? message}`);
    // A sleeping one is woken by the question that comes next.
    if (state === 'running' || state === 'scaledToZero' || state === 'updateFailed') return endpoint;
    if (performance.now() > deadline)
      throw new CliError(`it is still '${state}' (${message}); look in the Temporal UI`);
    onProgress(message);
    await sleep(200, undefined, { signal: up.stopping.signal });
    endpoint = await api(up, 'GET', `/v2/endpoint/${LOCAL_USER}/${first.name}`);
  }
}

/** Calls the control API; undefined for 404. @throws CliError with the API's own words */
async function api(
  up: Installation,
  method: 'GET' | 'POST',
  path: string,
  body?: EndpointCreate,
): Promise<EndpointWithStatus | undefined> {
  const response = await fetch(addresses(up.settings).api + path, {
    method,
    headers: { authorization: `Bearer ${need(up, 'token')}`, 'content-type': 'application/json' },
    signal: up.stopping.signal,
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  if (response.status === 404) return undefined;
  if (!response.ok) throw new CliError(`${method} ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as EndpointWithStatus;
}

async function ask(url: string, token: string, signal: AbortSignal): Promise<string> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: QUESTION }], max_tokens: 64, temperature: 0 }),
    signal,
  });
  if (!response.ok) throw new CliError(`the gateway answered ${response.status}: ${await response.text()}`);
  return chatAnswer.parse(await response.json()).choices[0]?.message.content.trim() ?? '';
}
