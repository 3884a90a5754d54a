import type { Instance } from '../spec/hardware.ts';
import type { TeiImage } from '../spec/images.ts';
import { assertArgs, ownedFlags, refuseFlags, variables, withoutOwned } from './args.ts';
import type { ContainerInput, Engine, ModelRequest, SettingsRefusal } from './engine.ts';
import { classifyEnd } from './failures.ts';
import { capabilityText, gpuFacts } from './gpus.ts';
import { firstRefusal, imageFitsHardware, nameOf, newEnough } from './hardware-rules.ts';
import { limitsOf } from './limits.ts';
import { healthAt, infer } from './probes.ts';
import { kindOf } from './tasks.ts';
import { selectTransformers } from './transformers-files.ts';
import { tagOf } from './versions.ts';

const DEFAULT_PORT = 80;
const HEALTH_ROUTE = '/health';
/** It answers after the batch that is being computed, so that a short time-out would take a busy replica for a dead one. */
const HEALTH_TIMEOUT_MS = 30_000;
/** It waits for running requests without bound. */
const STOP_GRACE_MS = 60_000;
/** Docker's own default: it keeps nothing in shared memory. */
const SHM_BYTES = 64 * 1024 ** 2;

const OWNED_FLAGS: ReadonlyMap<string, string> = new Map(
  ownedFlags('--model-id', '--revision', '--hostname', '--port', '-p', '--uds-path', '--api-key'),
);
/** `HOSTNAME` is set because Docker fills it with the container's id, which the router takes for an address. */
const OWNED_VARIABLES: ReadonlySet<string> = new Set([
  'MODEL_ID',
  'REVISION',
  'HOSTNAME',
  'PORT',
  'UDS_PATH',
  'API_KEY',
]);

/** Tag prefix → compute capability of the one GPU generation that build is for. */
const BUILDS: ReadonlyMap<string, number> = new Map([
  ['turing', 75],
  ['86', 86],
  ['89', 89],
  ['hopper', 90],
  ['100', 100],
  ['120', 120],
  ['121', 121],
]);
const OFFICIAL = /(^|\/)huggingface\/text-embeddings-inference(:|@|$)/;

/** Text Embeddings Inference. Flags, each with a variable of its name, and routes as in 1.9. */
export const tei: Engine<TeiImage> = {
  name: 'tei',
  variant: 'tei',
  apiKeyVariable: 'API_KEY',
  // No gauge of running requests: the gateway counts them.
  metrics: {
    waiting: 'te_queue_size',
    promptTokens: 'te_request_input_length_sum',
    requestLatency: 'te_request_duration',
    queueTime: 'te_request_queue_duration',
    successes: 'te_request_success',
    failures: 'te_request_failure',
  },
  checkArgs: (args) => refuseFlags(args, OWNED_FLAGS),
  checkSettings,
  ownsVariable: (name) => OWNED_VARIABLES.has(name),
  selectFiles: (files) => selectTransformers(files, { engine: 'TEI', pickles: true, code: false }),
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
      shmBytes: SHM_BYTES,
      gpus: input.gpus,
      stopSignal: 'SIGTERM',
      stopGraceMs: STOP_GRACE_MS,
    };
  },
  ...healthAt(HEALTH_ROUTE, HEALTH_TIMEOUT_MS),
  inference: (settings, _servedName, model) => {
    if (settings.pooling === 'splade') return infer('/embed_sparse', { inputs: 'Hello' });
    switch (kindOf(model?.task)) {
      case 'embed':
        return infer('/embed', { inputs: 'Hello' });
      case 'rank':
        return infer('/rerank', { query: 'Hello', texts: ['Hello'] });
      case 'classify':
        return infer('/predict', { inputs: 'Hello' });
      default:
        // The kind of the model decides the form, and nobody said it; its start has run the model once already.
        return null;
    }
  },
  classify: (end) => classifyEnd('TEI', end),
};

function environment({ settings, env, servedName }: ContainerInput<TeiImage>): Record<string, string> {
  return {
    SERVED_MODEL_NAME: servedName,
    ...withoutOwned(env, OWNED_VARIABLES),
    ...variables({
      MODEL_ID: '/repository',
      HOSTNAME: '0.0.0.0',
      PORT: settings.port ?? DEFAULT_PORT,
      MAX_BATCH_TOKENS: settings.maxBatchTokens,
      MAX_CONCURRENT_REQUESTS: settings.maxConcurrentRequests,
      POOLING: settings.pooling,
    }),
  };
}

function checkSettings(
  settings: TeiImage,
  instance: Instance,
  { task }: ModelRequest,
): SettingsRefusal | null {
  const kind = kindOf(task);
  return firstRefusal(
    (kind === 'generate' || kind === 'other') && {
      field: 'model.task',
      message: `TEI embeds, ranks and classifies text and the task is ${task}: use vLLM, SGLang, TGI or llama.cpp`,
    },
    instance.gpus > 1 && {
      field: 'compute.instanceSize',
      message: `TEI computes on one GPU and ${nameOf(instance)} has ${instance.gpus}: choose an instance with one`,
    },
    OFFICIAL.test(settings.url) &&
      imageFitsHardware(
        { display: 'TEI', variant: 'tei', cpuImage: 'a tag starting with cpu-' },
        settings.url,
        instance,
      ),
    newEnough('TEI', 75, instance),
    rightBuild(settings.url, instance),
  );
}

/** A build runs on its own GPU generation only; the one without a prefix on compute capability 8.0. */
function rightBuild(url: string, instance: Instance): SettingsRefusal | null {
  const gpu = gpuFacts(instance);
  const tag = tagOf(url);
  if (!gpu || !tag || !OFFICIAL.test(url)) return null;
  const prefix = /^(?<prefix>[a-z0-9]+)-/.exec(tag)?.groups?.prefix;
  const built = prefix === undefined ? 80 : BUILDS.get(prefix);
  if (built === undefined || built === gpu.capability) return null;
  const right = [...BUILDS].find(([, capability]) => capability === gpu.capability)?.[0];
  return {
    field: 'model.image.tei.url',
    message: `'${url}' is built for compute capability ${capabilityText(built)} and the ${gpu.name} of ${nameOf(instance)} has ${capabilityText(gpu.capability)}: use ${right ? `a tag starting with ${right}-, or ` : 'a tag without prefix, or '}one starting with cuda-`,
  };
}
