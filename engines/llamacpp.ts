import { EndpointsError } from '../spec/errors.ts';
import type { LlamacppImage } from '../spec/images.ts';
import type { HttpProbe } from '../spec/lifecycle.ts';
import { llamacppDriver } from './driver.ts';
import type { ContainerInput, Engine } from './engine.ts';
import { classifyEnd } from './failures.ts';
import { selectGguf } from './gguf.ts';
import { limitsOf } from './limits.ts';
import { healthAt } from './probes.ts';

/** The port is always passed: the image's own changed from 8080 to 9931 between builds. */
const DEFAULT_PORT = 8080;
const HEALTH_ROUTE = '/health';
const HEALTH_TIMEOUT_MS = 2000;
/** One token; but the first one pages the weights in, which takes minutes for a large model on a slow disk. */
const INFERENCE_TIMEOUT_MS = 300_000;
/** It stops at once on SIGTERM, except while it loads the model. */
const STOP_GRACE_MS = 15_000;
/** Docker's own default: it keeps nothing in shared memory. */
const SHM_BYTES = 64 * 1024 ** 2;

/** Flags by which the platform reaches the server and the model; later ones would silently win over ours. */
const OWNED_FLAGS: ReadonlySet<string> = new Set([
  '-m',
  '--model',
  '-mu',
  '--model-url',
  '-hf',
  '-hfr',
  '--hf-repo',
  '-dr',
  '--docker-repo',
  '--models-dir',
  '--host',
  '--port',
  '--api-prefix',
  '--ssl-key-file',
  '--ssl-cert-file',
]);

/** The environment twins of what the platform passes as a flag, and of {@link OWNED_FLAGS}. */
const OWNED_VARIABLES: ReadonlySet<string> = new Set([
  'LLAMA_API_KEY',
  'LLAMA_ARG_MODEL',
  'LLAMA_ARG_MODEL_URL',
  'LLAMA_ARG_HF_REPO',
  'LLAMA_ARG_DOCKER_REPO',
  'LLAMA_ARG_MODELS_DIR',
  'LLAMA_ARG_HOST',
  'LLAMA_ARG_PORT',
  'LLAMA_ARG_API_PREFIX',
  'LLAMA_ARG_SSL_KEY_FILE',
  'LLAMA_ARG_SSL_CERT_FILE',
  'LLAMA_ARG_ALIAS',
  'LLAMA_ARG_CTX_SIZE',
  'LLAMA_ARG_N_PARALLEL',
  'LLAMA_ARG_THREADS_HTTP',
  'LLAMA_ARG_HTTP_THREADS',
  'LLAMA_ARG_ENDPOINT_METRICS',
  'LLAMA_ARG_EMBEDDINGS',
]);

/** llama.cpp's `llama-server`. Flags and routes as in its `tools/server/README.md`; tried with build 11669. */
export const llamacpp: Engine<LlamacppImage> = {
  name: 'llamacpp',
  variant: 'llamacpp',
  apiKeyVariable: 'LLAMA_API_KEY',
  metrics: {
    running: 'llamacpp:requests_processing',
    waiting: 'llamacpp:requests_deferred',
    // Builds of before the middle of 2025 only.
    kvUsage: 'llamacpp:kv_cache_usage_ratio',
    promptTokens: 'llamacpp:prompt_tokens',
    generatedTokens: 'llamacpp:tokens_predicted',
  },
  checkArgs,
  checkSettings: () => null,
  ownsVariable: (name) => OWNED_VARIABLES.has(name),
  selectFiles: (files, settings) => selectGguf(files, settings),
  container: (input) => {
    const refusal = checkArgs(input.args);
    if (refusal) throw new EndpointsError('BAD_ARGS', refusal);
    return {
      image: input.settings.url,
      entrypoint: input.command,
      args: argsOf(input),
      env: Object.fromEntries(Object.entries(input.env).filter(([name]) => !OWNED_VARIABLES.has(name))),
      port: input.settings.port ?? DEFAULT_PORT,
      ...limitsOf(input.instance),
      shmBytes: SHM_BYTES,
      gpus: input.gpus,
      stopSignal: 'SIGTERM',
      stopGraceMs: STOP_GRACE_MS,
    };
  },
  driverNeed: (settings) => llamacppDriver(settings.url),
  ...healthAt(HEALTH_ROUTE, HEALTH_TIMEOUT_MS),
  inference,
  classify: (end) => classifyEnd('llama.cpp', end),
};

function checkArgs(args: readonly string[]): string | null {
  const owned = args.find((arg) => OWNED_FLAGS.has(arg.split('=', 1)[0] ?? ''));
  return owned
    ? `model.args must not set ${owned}: the platform sets it itself, from the repository and model.image.llamacpp`
    : null;
}

function argsOf({ settings, instance, env, args, servedName }: ContainerInput<LlamacppImage>): string[] {
  const flags = [
    ['-m', `/repository/${settings.modelPath}`],
    ['--alias', servedName],
    ['--host', '0.0.0.0'],
    ['--port', String(settings.port ?? DEFAULT_PORT)],
    ['--ctx-size', String(settings.ctxSize)],
    ['--parallel', String(settings.nParallel)],
    ['--threads-http', String(settings.threadsHttp)],
    ['--metrics'],
  ];
  // By itself it takes one thread per core of the whole host, and threads without a core of their own spin.
  if (!('LLAMA_ARG_THREADS' in env))
    flags.push(['--threads', String(Math.max(1, Math.floor(instance.cpus)))]);
  if (settings.nGpuLayers !== undefined) flags.push(['--n-gpu-layers', String(settings.nGpuLayers)]);
  if (settings.mmprojModelPath) flags.push(['--mmproj', `/repository/${settings.mmprojModelPath}`]);
  if (settings.mode === 'embeddings') {
    flags.push(settings.pooling === 'rank' ? ['--reranking'] : ['--embeddings']);
    if (settings.pooling && settings.pooling !== 'rank') flags.push(['--pooling', settings.pooling]);
  }
  // Of two values of a flag the later one counts, so the owner can refine every number above.
  return [...flags.flat(), ...args];
}

function inference(settings: LlamacppImage, servedName: string): HttpProbe {
  const probe = (path: string, body: unknown): HttpProbe => ({
    method: 'POST',
    path,
    body,
    timeoutMs: INFERENCE_TIMEOUT_MS,
  });
  if (settings.mode !== 'embeddings')
    return probe('/v1/completions', { model: servedName, prompt: 'Hello', max_tokens: 1 });
  if (settings.pooling === 'rank')
    return probe('/v1/rerank', { model: servedName, query: 'Hello', documents: ['Hello'] });
  // The OpenAI route refuses to answer without pooling; the native one gives a vector per token.
  if (settings.pooling === 'none') return probe('/embedding', { content: 'Hello' });
  return probe('/v1/embeddings', { model: servedName, input: 'Hello' });
}
