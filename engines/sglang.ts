import type { Instance } from '../spec/hardware.ts';
import type { SglangImage } from '../spec/images.ts';
import { assertArgs, flagValue, option, ownedFlags, refuseFlags, withoutOwned } from './args.ts';
import { sglangDriver } from './driver.ts';
import type { ContainerInput, Engine, ModelRequest, SettingsRefusal } from './engine.ts';
import { classifyEnd } from './failures.ts';
import { gpuFacts } from './gpus.ts';
import {
  countIn,
  firstRefusal,
  imageFitsHardware,
  nameOf,
  newEnough,
  spreadOverGpus,
} from './hardware-rules.ts';
import { limitsOf, sharedMemory } from './limits.ts';
import { healthAt, openAiInference } from './probes.ts';
import { trustsRemoteCode } from './remote-code.ts';
import { kindOf } from './tasks.ts';
import { selectTransformers } from './transformers-files.ts';

const DEFAULT_PORT = 30_000;
const HEALTH_ROUTE = '/health';
const HEALTH_TIMEOUT_MS = 5000;
/** It notices SIGTERM within 5 s and then waits for running requests without bound. */
const STOP_GRACE_MS = 60_000;
const SHM_GIB = 32;
const KEY_VARIABLE = 'ENGINE_API_KEY';
/**
 * Pinned buffers for transfers to the GPU, and deep stacks in its kernels' compiler. Without GPUs neither is needed, and a
 * Docker engine without the right to raise limits would refuse the container.
 */
const GPU_ULIMITS = [
  { name: 'memlock', soft: -1, hard: -1 },
  { name: 'stack', soft: 67_108_864, hard: 67_108_864 },
];

/** The images have no entrypoint. This form is understood by all versions; `sglang serve` only by new ones. */
const COMMAND = ['python3', '-m', 'sglang.launch_server'];
/**
 * The key can only be given as an argument. The shell takes it from the environment, so that it is in no description of
 * the container; last, so that nothing in `model.args` replaces it.
 */
const WITH_KEY = ['/bin/sh', '-c', `exec "$@" --api-key "$${KEY_VARIABLE}"`, 'sglang'];

const SERVED_NAME: ReadonlySet<string> = new Set(['--served-model-name']);
const PIPELINE: ReadonlySet<string> = new Set(['--pp-size']);
const DATA: ReadonlySet<string> = new Set(['--data-parallel-size', '--dp-size', '--dp']);
const INSTEAD = 'set model.image.sGLang.tensorParallelSize instead';

const OWNED_FLAGS: ReadonlyMap<string, string> = new Map([
  ...ownedFlags('--model-path', '--model', '--host', '--port', '--api-key'),
  ['--tensor-parallel-size', INSTEAD],
  ['--tp-size', INSTEAD],
  ['--tp', INSTEAD],
]);
/** A generation inside the health route takes up to 20 s and is not needed: one real inference is asked for anyway. */
const HEALTH_VARIABLE = 'SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION';
const OWNED_VARIABLES: ReadonlySet<string> = new Set([KEY_VARIABLE, HEALTH_VARIABLE]);

/** SGLang's server. Flags as in its server arguments page. */
export const sglang: Engine<SglangImage> = {
  name: 'sglang',
  variant: 'sGLang',
  apiKeyVariable: KEY_VARIABLE,
  metrics: {
    running: 'sglang:num_running_reqs',
    waiting: 'sglang:num_queue_reqs',
    kvUsage: 'sglang:token_usage',
    promptTokens: 'sglang:prompt_tokens',
    generatedTokens: 'sglang:generation_tokens',
    ttft: 'sglang:time_to_first_token_seconds',
    interTokenLatency: ['sglang:inter_token_latency_seconds', 'sglang:time_per_output_token_seconds'],
    requestLatency: 'sglang:e2e_request_latency_seconds',
  },
  checkArgs: (args) => refuseFlags(args, OWNED_FLAGS),
  checkSettings,
  ownsVariable: (name) => OWNED_VARIABLES.has(name),
  selectFiles: (files, _settings, model) =>
    selectTransformers(files, { engine: 'SGLang', pickles: true, code: trustsRemoteCode(model) }),
  container: (input) => {
    const { settings, instance } = input;
    assertArgs(input.args, OWNED_FLAGS);
    return {
      image: settings.url,
      entrypoint: [...WITH_KEY, ...(input.command.length ? input.command : COMMAND)],
      args: argsOf(input),
      env: {
        ...withoutOwned(input.env, OWNED_VARIABLES),
        [HEALTH_VARIABLE]: 'false',
        ...(instance.gpus === 0 ? { SGLANG_USE_CPU_ENGINE: '1' } : {}),
      },
      port: settings.port ?? DEFAULT_PORT,
      ...limitsOf(instance),
      shmBytes: sharedMemory(instance, SHM_GIB),
      ...(instance.gpus > 0 ? { ulimits: GPU_ULIMITS } : {}),
      gpus: input.gpus,
      stopSignal: 'SIGTERM',
      stopGraceMs: STOP_GRACE_MS,
    };
  },
  driverNeed: (settings) => sglangDriver(settings.url),
  ...healthAt(HEALTH_ROUTE, HEALTH_TIMEOUT_MS),
  inference: (_settings, servedName, model) => {
    const kind = kindOf(model?.task);
    // The form of its classification route depends on the version, so a text classifier is not asked.
    if (kind === 'classify') return null;
    return openAiInference(kind, flagValue(model?.args ?? [], SERVED_NAME) ?? servedName);
  },
  classify: (end) => classifyEnd('SGLang', end),
};

function checkSettings(
  settings: SglangImage,
  instance: Instance,
  { args }: ModelRequest,
): SettingsRefusal | null {
  const tensor = settings.tensorParallelSize;
  // How data parallelism divides the GPUs depends on further flags; all that is sure is that it divides them.
  const data = flagValue(args, DATA) !== undefined;
  const gpus = Math.max(1, instance.gpus);
  return firstRefusal(
    imageFitsHardware(
      {
        display: 'SGLang',
        variant: 'sGLang',
        cpuImage: 'one built from docker/xeon.Dockerfile, with cpu in its name',
      },
      settings.url,
      instance,
    ),
    newEnough('SGLang', 75, instance),
    data
      ? gpus % (tensor ?? 1) !== 0 && {
          field: 'model.image.sGLang.tensorParallelSize',
          message: `tensorParallelSize ${tensor} does not divide the ${gpus} GPUs of ${nameOf(instance)}`,
        }
      : spreadOverGpus('sGLang', instance, { tensor, pipeline: countIn(flagValue(args, PIPELINE)) }),
  );
}

function argsOf({ settings, instance, args, servedName, task }: ContainerInput<SglangImage>): string[] {
  const gpu = gpuFacts(instance);
  return [
    ...['--model-path', '/repository'],
    ...(flagValue(args, SERVED_NAME) === undefined ? ['--served-model-name', servedName] : []),
    // By itself it listens on the loopback of the container, where nobody reaches it.
    ...['--host', '0.0.0.0', '--port', String(settings.port ?? DEFAULT_PORT)],
    '--enable-metrics',
    ...(['embed', 'rank', 'classify'].includes(kindOf(task)) ? ['--is-embedding'] : []),
    ...(instance.gpus === 0 ? ['--device', 'cpu', '--disable-overlap-schedule'] : []),
    ...(gpu && gpu.capability < 80 ? ['--dtype', 'half'] : []),
    ...option('--tensor-parallel-size', settings.tensorParallelSize),
    ...option('--max-running-requests', settings.maxRunningRequests),
    ...option('--max-prefill-tokens', settings.maxPrefillTokens),
    ...option('--chunked-prefill-size', settings.chunkedPrefillSize),
    ...option('--kv-cache-dtype', settings.kvCacheDtype),
    ...args,
  ];
}
