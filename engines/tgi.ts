import type { Instance } from '../spec/hardware.ts';
import type { TgiImage } from '../spec/images.ts';
import { assertArgs, findFlag, ownedFlags, refuseFlags, variables, withoutOwned } from './args.ts';
import { tgiDriver } from './driver.ts';
import type { ContainerInput, Engine, ModelRequest, SettingsRefusal } from './engine.ts';
import { classifyEnd } from './failures.ts';
import { firstRefusal, imageFitsHardware } from './hardware-rules.ts';
import { limitsOf, sharedMemory } from './limits.ts';
import { healthAt, infer } from './probes.ts';
import { trustsRemoteCode } from './remote-code.ts';
import { kindOf } from './tasks.ts';
import { selectTransformers } from './transformers-files.ts';

const DEFAULT_PORT = 80;
const HEALTH_ROUTE = '/health';
/** When idle it runs the model for it. */
const HEALTH_TIMEOUT_MS = 10_000;
/** It waits 90 s for running requests by itself, then ends its shards. */
const STOP_GRACE_MS = 100_000;
const SHM_GIB = 64;

const OWNED_FLAGS: ReadonlyMap<string, string> = new Map([
  ...ownedFlags('--model-id', '--revision', '--hostname', '--port', '-p', '--api-key'),
  ...ownedFlags('--num-shard', '--sharded'),
]);
/**
 * Every flag has a variable, and variables are the better form: the entrypoint of the image breaks arguments at spaces,
 * and a flag in `model.args` wins over a variable instead of being refused as given twice. `HOSTNAME` is set because
 * Docker fills it with the container's id, which the launcher then takes for an address.
 */
const OWNED_VARIABLES: ReadonlySet<string> = new Set([
  'MODEL_ID',
  'REVISION',
  'HOSTNAME',
  'PORT',
  'API_KEY',
  'NUM_SHARD',
  'SHARDED',
]);

/** Text Generation Inference. Flags and variables as in its launcher at 3.3. */
export const tgi: Engine<TgiImage> = {
  name: 'tgi',
  variant: 'tgi',
  apiKeyVariable: 'API_KEY',
  metrics: {
    running: 'tgi_batch_current_size',
    waiting: 'tgi_queue_size',
    promptTokens: 'tgi_request_input_length_sum',
    generatedTokens: 'tgi_request_generated_tokens_sum',
    interTokenLatency: 'tgi_request_mean_time_per_token_duration',
    requestLatency: 'tgi_request_duration',
    queueTime: 'tgi_request_queue_duration',
    successes: 'tgi_request_success',
    failures: 'tgi_request_failure',
  },
  checkArgs: (args) => refuseFlags(args, OWNED_FLAGS),
  checkSettings,
  ownsVariable: (name) => OWNED_VARIABLES.has(name),
  // Without safetensors it would convert the weights beside them, where it cannot write.
  selectFiles: (files, _settings, model) =>
    selectTransformers(files, { engine: 'TGI', pickles: false, code: trustsRemoteCode(model) }),
  container: (input) => {
    const { settings, instance } = input;
    assertArgs(input.args, OWNED_FLAGS);
    return {
      image: settings.url,
      entrypoint: input.command,
      args: [...input.args],
      env: environment(input),
      port: settings.port ?? DEFAULT_PORT,
      ...limitsOf(instance),
      shmBytes: sharedMemory(instance, SHM_GIB),
      gpus: input.gpus,
      stopSignal: 'SIGTERM',
      stopGraceMs: STOP_GRACE_MS,
    };
  },
  driverNeed: () => tgiDriver(),
  ...healthAt(HEALTH_ROUTE, HEALTH_TIMEOUT_MS),
  inference: () => infer('/generate', { inputs: 'Hello', parameters: { max_new_tokens: 1 } }),
  classify: (end) => classifyEnd('TGI', end),
};

function environment({ settings, instance, env }: ContainerInput<TgiImage>): Record<string, string> {
  const own = withoutOwned(env, OWNED_VARIABLES);
  // The older name of the same limit; with both it refuses to start.
  if (settings.maxInputLength != null) delete own.MAX_INPUT_LENGTH;
  return {
    USAGE_STATS: 'off',
    // The kernels behind CUDA graphs are not there on CPUs.
    ...(instance.gpus === 0 ? { CUDA_GRAPHS: '0' } : {}),
    ...own,
    ...variables({
      MODEL_ID: '/repository',
      HOSTNAME: '0.0.0.0',
      PORT: settings.port ?? DEFAULT_PORT,
      NUM_SHARD: instance.gpus > 1 ? instance.gpus : null,
      MAX_INPUT_TOKENS: settings.maxInputLength,
      MAX_TOTAL_TOKENS: settings.maxTotalTokens,
      MAX_BATCH_PREFILL_TOKENS: settings.maxBatchPrefillTokens,
      MAX_BATCH_TOTAL_TOKENS: settings.maxBatchTotalTokens,
      QUANTIZE: settings.quantize,
      DISABLE_CUSTOM_KERNELS: settings.disableCustomKernels ? true : null,
    }),
  };
}

function checkSettings(
  settings: TgiImage,
  instance: Instance,
  { args, command, env, task }: ModelRequest,
): SettingsRefusal | null {
  const field = (name: string) => `model.image.tgi.${name}`;
  const { maxInputLength: input, maxTotalTokens: total, maxBatchTotalTokens: batch } = settings;
  const prefill = settings.maxBatchPrefillTokens;
  const kind = kindOf(task);
  const spaced = command.length === 0 && args.find((arg) => /\s/.test(arg));
  return firstRefusal(
    kind !== 'generate' &&
      kind !== 'unknown' && {
        field: 'model.task',
        message: `TGI only generates text and the task is ${task}: use TEI for embeddings and ranking, or another engine`,
      },
    // The plain image runs without a GPU when its kernels are turned off.
    !(instance.accelerator === 'cpu' && settings.disableCustomKernels) &&
      imageFitsHardware(
        { display: 'TGI', variant: 'tgi', cpuImage: 'a tag ending in -intel-cpu' },
        settings.url,
        instance,
      ),
    input != null &&
      total != null &&
      input >= total && {
        field: field('maxInputLength'),
        message: `maxInputLength ${input} leaves no token to generate within maxTotalTokens ${total}: set it below ${total}`,
      },
    total != null &&
      batch != null &&
      batch < total && {
        field: field('maxBatchTotalTokens'),
        message: `a batch of ${batch} tokens cannot hold one query of maxTotalTokens ${total}: set at least ${total}`,
      },
    prefill != null &&
      batch != null &&
      batch < prefill && {
        field: field('maxBatchPrefillTokens'),
        message: `maxBatchPrefillTokens ${prefill} is more than a batch of maxBatchTotalTokens ${batch} can hold: set at most ${batch}`,
      },
    settings.quantize != null &&
      (findFlag(args, new Set(['--dtype'])) !== undefined || 'DTYPE' in env) && {
        field: field('quantize'),
        message: `quantize ${settings.quantize} and a dtype exclude each other in TGI: leave one out`,
      },
    typeof spaced === 'string' && {
      field: 'model.args',
      message: `the entrypoint of TGI breaks '${spaced}' at its spaces: give it as the variable of the same name in model.env`,
    },
  );
}
