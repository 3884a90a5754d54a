import type { Instance } from '../spec/hardware.ts';
import type { HuggingfaceImage } from '../spec/images.ts';
import { withoutOwned } from './args.ts';
import type { Engine } from './engine.ts';
import { classifyEnd } from './failures.ts';
import { nameOf } from './hardware-rules.ts';
import { limitsOf, sharedMemory } from './limits.ts';
import { selectToolkit } from './toolkit-files.ts';

/** Fixed in the entrypoint of the image. */
const PORT = 5000;
const HEALTH_ROUTE = '/health';
const HEALTH_TIMEOUT_MS = 5000;
const STOP_GRACE_MS = 30_000;
const SHM_GIB = 16;

/** Hugging Face's own builds of the toolkit, pinned. */
const IMAGES = 'us-docker.pkg.dev/deeplearning-platform-release/gcr.io/huggingface-pytorch-inference';
const GPU_IMAGE = `${IMAGES}-cu121.2-3.transformers.4-48.ubuntu2204.py311`;
const CPU_IMAGE = `${IMAGES}-cpu.2-3.transformers.4-48.ubuntu2204.py311`;

/** With `HF_MODEL_ID` set besides the folder the image refuses to start. The `AIP` ones move its port. */
const OWNED_VARIABLES: ReadonlySet<string> = new Set([
  'HF_MODEL_DIR',
  'HF_MODEL_ID',
  'HF_REVISION',
  'AIP_MODE',
  'AIP_HTTP_PORT',
]);

/**
 * The Inference Toolkit: Transformers, sentence-transformers and diffusers pipelines by task, or the `EndpointHandler`
 * of the repository's `handler.py`. It has no key of its own and no route whose body suits every task, so its health
 * route decides; it answers only after the model is loaded.
 */
export const huggingface: Engine<HuggingfaceImage> = {
  name: 'huggingface',
  variant: 'huggingface',
  apiKeyVariable: null,
  metrics: { running: 'inf_batch_current_size', waiting: 'inf_queue_size' },
  checkArgs: () => null,
  checkSettings: (_settings, instance) =>
    instance.accelerator === 'neuron'
      ? {
          field: 'model.image.huggingface',
          message: `the Inference Toolkit does not run on ${nameOf(instance)}: choose cpu or gpu`,
        }
      : null,
  ownsVariable: (name) => OWNED_VARIABLES.has(name),
  selectFiles: (files) => selectToolkit(files),
  container: ({ instance, env, command, args, gpus, task }) => ({
    image: imageFor(instance),
    entrypoint: command,
    args,
    env: {
      ...(task ? { HF_TASK: task } : {}),
      ...withoutOwned(env, OWNED_VARIABLES),
      HF_MODEL_DIR: '/repository',
    },
    port: PORT,
    ...limitsOf(instance),
    shmBytes: sharedMemory(instance, SHM_GIB),
    gpus,
    stopSignal: 'SIGTERM',
    stopGraceMs: STOP_GRACE_MS,
  }),
  healthRoute: () => HEALTH_ROUTE,
  readiness: () => ({ method: 'GET', path: HEALTH_ROUTE, timeoutMs: HEALTH_TIMEOUT_MS }),
  inference: () => null,
  classify: (end) => classifyEnd('The Inference Toolkit', end),
};

function imageFor(instance: Instance): string {
  return instance.gpus > 0 ? GPU_IMAGE : CPU_IMAGE;
}
