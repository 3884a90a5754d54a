import type { CustomImage } from '../spec/images.ts';
import type { Engine } from './engine.ts';
import { classifyEnd } from './failures.ts';
import { limitsOf } from './limits.ts';

/** Port of a container that does not say another, as in the public API. */
const DEFAULT_PORT = 80;
/** Time for a server we know nothing about to end its requests. */
const STOP_GRACE_MS = 30_000;
const HEALTH_TIMEOUT_MS = 5000;

/**
 * Any container that serves HTTP: its image, port and, if it has one, its health route. What it can infer is not known,
 * so it is ready when its health route says so, or, without one, when it runs.
 */
export const custom: Engine<CustomImage> = {
  name: 'custom',
  variant: 'custom',
  apiKeyVariable: null,
  metrics: null,
  checkArgs: () => null,
  checkSettings: () => null,
  ownsVariable: () => false,
  selectFiles: (files) => ({ ok: true, files: [...files] }),
  container: ({ settings, instance, env, command, args, gpus }) => {
    const limits = limitsOf(instance);
    return {
      image: settings.url,
      entrypoint: command,
      args,
      env,
      port: settings.port ?? DEFAULT_PORT,
      ...limits,
      // Half of the memory, as Linux gives to /dev/shm: data loaders need more than Docker's 64 MiB.
      shmBytes: Math.floor(limits.memoryBytes / 2),
      gpus,
      stopSignal: 'SIGTERM',
      stopGraceMs: STOP_GRACE_MS,
    };
  },
  healthRoute: (settings) => settings.healthRoute ?? null,
  readiness: (settings) =>
    settings.healthRoute ? { method: 'GET', path: settings.healthRoute, timeoutMs: HEALTH_TIMEOUT_MS } : null,
  inference: () => null,
  classify: (end) => classifyEnd('The container', end),
};
