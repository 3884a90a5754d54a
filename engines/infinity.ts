import type { InfinityImage } from '../spec/images.ts';
import { assertArgs, ownedFlags, refuseFlags, variables, withoutOwned } from './args.ts';
import type { ContainerInput, Engine } from './engine.ts';
import { classifyEnd } from './failures.ts';
import { firstRefusal, imageFitsHardware } from './hardware-rules.ts';
import { limitsOf, sharedMemory } from './limits.ts';
import { healthAt, infer } from './probes.ts';
import { trustsRemoteCode } from './remote-code.ts';
import { kindOf } from './tasks.ts';
import { selectTransformers } from './transformers-files.ts';

const DEFAULT_PORT = 7997;
const HEALTH_ROUTE = '/health';
const HEALTH_TIMEOUT_MS = 5000;
/** Its web server ends running requests by itself. */
const STOP_GRACE_MS = 30_000;
const SHM_GIB = 4;

const OWNED_FLAGS: ReadonlyMap<string, string> = new Map(
  ownedFlags(
    '--model-id',
    '--revision',
    '--host',
    '--port',
    '--api-key',
    '--url-prefix',
    '--proxy-root-path',
  ),
);
const OWNED_VARIABLES: ReadonlySet<string> = new Set([
  'INFINITY_MODEL_ID',
  'INFINITY_REVISION',
  'INFINITY_HOST',
  'INFINITY_PORT',
  'INFINITY_API_KEY',
  'INFINITY_URL_PREFIX',
  'INFINITY_PROXY_ROOT_PATH',
  'INFINITY_PRELOAD_ONLY',
]);

/** Infinity, a server of embedding, ranking and classification models. Variables and routes as in
 * its documentation; not yet run as the real image. */
export const infinity: Engine<InfinityImage> = {
  name: 'infinity',
  variant: 'infinity',
  apiKeyVariable: 'INFINITY_API_KEY',
  // It counts what its web framework sees, and nothing of the model.
  metrics: {
    requestLatency: { name: 'http_request_duration_seconds', where: { method: /^POST$/ } },
    successes: { name: 'http_requests', where: { status: /^2/, method: /^POST$/ } },
    failures: { name: 'http_requests', where: { status: /^5/ } },
  },
  checkArgs: (args) => refuseFlags(args, OWNED_FLAGS),
  checkSettings: (settings, instance, { task }) =>
    firstRefusal(
      ['generate', 'other'].includes(kindOf(task)) && {
        field: 'model.task',
        message: `Infinity embeds, ranks and classifies and the task is ${task}: use vLLM, SGLang, TGI or llama.cpp`,
      },
      imageFitsHardware(
        { display: 'Infinity', variant: 'infinity', cpuImage: 'a tag ending in -cpu' },
        settings.url,
        instance,
      ),
    ),
  ownsVariable: (name) => OWNED_VARIABLES.has(name),
  selectFiles: (files, _settings, model) =>
    selectTransformers(files, { engine: 'Infinity', pickles: true, code: trustsRemoteCode(model) }),
  container: (input) => {
    const { settings, instance } = input;
    assertArgs(input.args, OWNED_FLAGS);
    return {
      image: settings.url,
      entrypoint: input.command,
      // The command of the image's own program; its settings are variables.
      args: ['v2', ...input.args],
      env: environment(input),
      port: settings.port ?? DEFAULT_PORT,
      ...limitsOf(instance),
      shmBytes: sharedMemory(instance, SHM_GIB),
      gpus: input.gpus,
      stopSignal: 'SIGTERM',
      stopGraceMs: STOP_GRACE_MS,
    };
  },
  ...healthAt(HEALTH_ROUTE, HEALTH_TIMEOUT_MS),
  inference: (_settings, servedName, model) => {
    switch (kindOf(model?.task)) {
      case 'rank':
        return infer('/rerank', { model: servedName, query: 'Hello', documents: ['Hello'] });
      case 'classify':
        return infer('/classify', { model: servedName, input: ['Hello'] });
      case 'embed':
        return infer('/embeddings', { model: servedName, input: ['Hello'] });
      default:
        // Nobody said what the model is for; its start has run the model once already.
        return null;
    }
  },
  classify: (end) => classifyEnd('Infinity', end),
};

function environment(input: ContainerInput<InfinityImage>): Record<string, string> {
  const { settings, env, args, servedName } = input;
  return {
    INFINITY_SERVED_MODEL_NAME: servedName,
    // Its images for CPUs would look for ONNX files, which are not fetched.
    INFINITY_ENGINE: 'torch',
    // By itself it runs code of the repository, and tells its makers of every start.
    INFINITY_TRUST_REMOTE_CODE: String(trustsRemoteCode({ args, env })),
    INFINITY_ANONYMOUS_USAGE_STATS: '0',
    ...withoutOwned(env, OWNED_VARIABLES),
    ...variables({
      INFINITY_MODEL_ID: '/repository',
      INFINITY_HOST: '0.0.0.0',
      INFINITY_PORT: settings.port ?? DEFAULT_PORT,
      INFINITY_BATCH_SIZE: settings.batchSize,
    }),
  };
}
