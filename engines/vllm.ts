import type { Instance } from '../spec/hardware.ts';
import type { VllmImage } from '../spec/images.ts';
import { assertArgs, flagValue, option, ownedFlags, refuseFlags, withoutOwned } from './args.ts';
import { vllmDriver } from './driver.ts';
import type { ContainerInput, Engine, ModelRequest, SettingsRefusal } from './engine.ts';
import { classifyEnd } from './failures.ts';
import { cpuCacheGib } from './fit/memory.ts';
import { gpuFacts } from './gpus.ts';
import { countIn, firstRefusal, imageFitsHardware, newEnough, spreadOverGpus } from './hardware-rules.ts';
import { limitsOf, sharedMemory } from './limits.ts';
import { healthAt, openAiInference } from './probes.ts';
import { trustsRemoteCode } from './remote-code.ts';
import { kindOf } from './tasks.ts';
import { selectTransformers } from './transformers-files.ts';
import { atLeast } from './versions.ts';

const DEFAULT_PORT = 8000;
const HEALTH_ROUTE = '/health';
const HEALTH_TIMEOUT_MS = 5000;
/** Running requests may end for so long after SIGTERM; without the flag they are cut off at once. */
const SHUTDOWN_TIMEOUT_S = 30;
const STOP_GRACE_MS = (SHUTDOWN_TIMEOUT_S + 15) * 1000;
/** Versions before the flag wait for running requests without bound. */
const OLD_STOP_GRACE_MS = 60_000;
/** Tensors travel between worker processes through it. */
const SHM_GIB = 32;
const CPU_SHM_GIB = 4;

const SERVED_NAME: ReadonlySet<string> = new Set(['--served-model-name']);
const PIPELINE: ReadonlySet<string> = new Set(['--pipeline-parallel-size', '-pp']);

const OWNED_FLAGS: ReadonlyMap<string, string> = new Map([
  ...ownedFlags('--model', '--host', '--port', '--uds', '--root-path', '--api-key'),
  ...ownedFlags('--ssl-keyfile', '--ssl-certfile', '--ssl-ca-certs', '--ssl-cert-reqs'),
  ['--tensor-parallel-size', 'set model.image.vLLM.tensorParallelSize instead'],
  ['-tp', 'set model.image.vLLM.tensorParallelSize instead'],
  ['--data-parallel-size', 'set model.image.vLLM.dataParallelSize instead'],
  ['-dp', 'set model.image.vLLM.dataParallelSize instead'],
]);
/** `VLLM_PORT` is the engine's port between its processes: a value by accident makes it hang. */
const OWNED_VARIABLES: ReadonlySet<string> = new Set(['VLLM_API_KEY', 'VLLM_PORT']);

/** vLLM's OpenAI server. Flags as in `vllm serve` 0.27.1; what depends on the version is decided by the image's tag. */
export const vllm: Engine<VllmImage> = {
  name: 'vllm',
  variant: 'vLLM',
  apiKeyVariable: 'VLLM_API_KEY',
  // The second names are those of older versions.
  metrics: {
    running: 'vllm:num_requests_running',
    waiting: 'vllm:num_requests_waiting',
    kvUsage: ['vllm:kv_cache_usage_perc', 'vllm:gpu_cache_usage_perc'],
    promptTokens: 'vllm:prompt_tokens',
    generatedTokens: 'vllm:generation_tokens',
    ttft: 'vllm:time_to_first_token_seconds',
    interTokenLatency: ['vllm:inter_token_latency_seconds', 'vllm:time_per_output_token_seconds'],
    requestLatency: 'vllm:e2e_request_latency_seconds',
    queueTime: 'vllm:request_queue_time_seconds',
    successes: 'vllm:request_success',
    failures: { name: 'http_requests', where: { status: /^5/ } },
  },
  checkArgs: (args) => refuseFlags(args, OWNED_FLAGS),
  checkSettings,
  ownsVariable: (name) => OWNED_VARIABLES.has(name),
  selectFiles: (files, _settings, model) =>
    selectTransformers(files, { engine: 'vLLM', pickles: true, code: trustsRemoteCode(model) }),
  container: (input) => {
    const { settings, instance } = input;
    assertArgs(input.args, OWNED_FLAGS);
    return {
      image: settings.url,
      entrypoint: input.command,
      args: argsOf(input),
      env: { ...cpuDefaults(instance), ...withoutOwned(input.env, OWNED_VARIABLES) },
      port: settings.port ?? DEFAULT_PORT,
      ...limitsOf(instance),
      shmBytes: sharedMemory(instance, instance.gpus > 0 ? SHM_GIB : CPU_SHM_GIB),
      gpus: input.gpus,
      stopSignal: 'SIGTERM',
      stopGraceMs: atLeast(settings.url, 0, 18) ? STOP_GRACE_MS : OLD_STOP_GRACE_MS,
    };
  },
  driverNeed: (settings, env) => vllmDriver(settings.url, env),
  ...healthAt(HEALTH_ROUTE, HEALTH_TIMEOUT_MS),
  // Its health route says that the process lives, not that it can infer.
  inference: (_settings, servedName, model) =>
    openAiInference(kindOf(model?.task), flagValue(model?.args ?? [], SERVED_NAME) ?? servedName),
  classify: (end) => classifyEnd('vLLM', end),
};

function checkSettings(
  settings: VllmImage,
  instance: Instance,
  { args }: ModelRequest,
): SettingsRefusal | null {
  const { maxNumSeqs: seqs, maxNumBatchedTokens: tokens } = settings;
  return firstRefusal(
    imageFitsHardware(
      { display: 'vLLM', variant: 'vLLM', cpuImage: 'vllm/vllm-openai-cpu' },
      settings.url,
      instance,
    ),
    newEnough('vLLM', 75, instance),
    spreadOverGpus('vLLM', instance, {
      tensor: settings.tensorParallelSize,
      data: settings.dataParallelSize,
      pipeline: countIn(flagValue(args, PIPELINE)),
    }),
    seqs != null &&
      tokens != null &&
      tokens < seqs && {
        field: 'model.image.vLLM.maxNumBatchedTokens',
        message: `${tokens} tokens per batch cannot hold one token of each of maxNumSeqs ${seqs} sequences: set at least ${seqs}`,
      },
  );
}

function argsOf({
  settings,
  instance,
  command,
  args,
  servedName,
  task,
}: ContainerInput<VllmImage>): string[] {
  const gpu = gpuFacts(instance);
  const pooling = ['embed', 'rank', 'classify'].includes(kindOf(task));
  return [
    ...(takesPositionalModel(settings.url, command) ? ['/repository'] : ['--model', '/repository']),
    ...(flagValue(args, SERVED_NAME) === undefined ? ['--served-model-name', servedName] : []),
    ...['--host', '0.0.0.0', '--port', String(settings.port ?? DEFAULT_PORT)],
    ...(pooling ? ['--runner', 'pooling'] : []),
    // Older GPUs cannot compute in bfloat16, the type most models are stored in.
    ...(gpu && gpu.capability < 80 ? ['--dtype', 'half'] : []),
    ...option('--tensor-parallel-size', settings.tensorParallelSize),
    ...option('--data-parallel-size', settings.dataParallelSize),
    ...option('--max-num-seqs', settings.maxNumSeqs),
    ...option('--max-num-batched-tokens', settings.maxNumBatchedTokens),
    ...option('--kv-cache-dtype', settings.kvCacheDtype),
    ...(atLeast(settings.url, 0, 18) ? ['--shutdown-timeout', String(SHUTDOWN_TIMEOUT_S)] : []),
    // Of two values of a flag the later one counts, so the owner can refine everything above.
    ...args,
  ];
}

/**
 * `vllm serve` takes the model as its first argument; `--model` is understood by every version up to 0.27 and by the
 * older entrypoint `vllm.entrypoints.openai.api_server`, which takes nothing else.
 */
function takesPositionalModel(url: string, command: readonly string[]): boolean {
  const text = command.join(' ');
  if (text.includes('api_server')) return false;
  if (/\bserve$/.test(text)) return true;
  return atLeast(url, 0, 28);
}

/**
 * On CPUs the KV cache is part of the container's memory. By itself it binds a thread to every core of the host: two
 * replicas beside each other would compute on the same ones.
 */
function cpuDefaults(instance: Instance): Record<string, string> {
  if (instance.gpus > 0) return {};
  return {
    VLLM_CPU_KVCACHE_SPACE: String(cpuCacheGib(instance)),
    VLLM_CPU_OMP_THREADS_BIND: 'nobind',
    OMP_NUM_THREADS: String(Math.max(1, Math.floor(instance.cpus))),
  };
}
