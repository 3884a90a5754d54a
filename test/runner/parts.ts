import { join } from 'node:path';
import { dockerClient, dockerVersion, findDocker } from '../../cli/services/docker.ts';
import { ensureEngineImage } from '../../cli/services/engine-image.ts';
import { type PrivateDocker, startPrivateDocker } from '../../cli/services/private-docker.ts';
import { pythonVenv } from '../../cli/services/python.ts';
import { ensureSampleRepository } from '../../cli/services/sample.ts';
import { temporalBinary } from '../../cli/services/temporal-binary.ts';
import type { Step } from '../../cli/up/step.ts';
import { cacheDir, loadPlatformConfig, loadTemporalConfig } from '../../runtime/config.ts';
import { ensureVllmImage, VLLM_IMAGE } from '../real/vllm-image.ts';
import { registryBinary } from './registry-binary.ts';

/** What the tests are given. A part that could not be had is missing from `env`, and `unavailable` says why. */
export interface Parts {
  env: Record<string, string>;
  unavailable: Record<string, string>;
  /** Set when the run has a Docker engine of its own. */
  docker: PrivateDocker | undefined;
}

interface Part {
  title: string;
  /** The variables through which the tests reach it. */
  variables: string[];
  provide(progress: (text: string) => void): Promise<string>;
}

interface PartOptions {
  runDir: string;
  /** Filled by the steps. */
  parts: Parts;
  signal: AbortSignal;
  /** With the big engines' images; a Docker engine of our own then keeps its images in the cache. */
  engines?: boolean;
}

/** The steps that provide the real parts; each that fails is shown, and its tests are skipped with the reason. */
export function partSteps({ runDir, parts, signal, engines: bigEngines = false }: PartOptions): Step[] {
  const cache = cacheDir();
  const { engines, sample } = loadPlatformConfig({});
  const { devServer } = loadTemporalConfig({});
  parts.env.ENDPOINTS_CACHE_DIR = cache;

  const list: Part[] = [
    {
      title: 'Docker engine',
      variables: ['DOCKER_HOST'],
      provide: async (onProgress) => {
        const found = await findDocker();
        if (!found) {
          const dir = bigEngines ? join(cache, 'engines-docker') : join(runDir, 'docker');
          parts.docker = await startPrivateDocker({ dir, keepImages: bigEngines, signal, onProgress });
        }
        const host = found ?? parts.docker?.host ?? '';
        parts.env.DOCKER_HOST = host;
        return `${await dockerVersion(host)}${found ? ` at ${host}` : ', one of this run'}`;
      },
    },
    {
      title: 'Engine image',
      variables: ['TEST_LLAMACPP_IMAGE'],
      provide: async (onProgress) => {
        const host = parts.env.DOCKER_HOST;
        if (!host) throw new Error('there is no Docker engine');
        const { image } = engines.llamacpp;
        const docker = dockerClient(host);
        const source = await ensureEngineImage({ docker, image, cacheDir: cache, signal, onProgress });
        parts.env.TEST_LLAMACPP_IMAGE = image;
        return `${image}, ${source}`;
      },
    },
    {
      title: 'Model weights',
      variables: ['TEST_GGUF'],
      provide: async (onProgress) => {
        const { file } = await ensureSampleRepository({ cacheDir: cache, sample, signal, onProgress });
        parts.env.TEST_GGUF = file;
        return sample.file;
      },
    },
    {
      title: 'Image registry',
      variables: ['TEST_REGISTRY'],
      provide: async () => {
        const { path, source } = await registryBinary(cache, signal);
        parts.env.TEST_REGISTRY = path;
        return `from ${source}`;
      },
    },
    {
      title: 'Temporal server',
      variables: ['TEMPORAL_CLI_PATH'],
      provide: async (onProgress) => {
        const options = { cacheDir: cache, version: devServer.version, signal, onProgress };
        const { path, source } = await temporalBinary(options);
        parts.env.TEMPORAL_CLI_PATH = path;
        return `from ${source}`;
      },
    },
    {
      title: 'Python clients',
      variables: ['TEST_PYTHON'],
      provide: async () => {
        parts.env.TEST_PYTHON = (await pythonVenv()).python;
        return 'huggingface_hub and openai';
      },
    },
  ];
  if (bigEngines) list.push(vllmPart(cache, parts, signal));
  return list.map(({ title, variables, provide }) => ({
    title,
    optional: true,
    run: async (progress) => {
      try {
        return await provide(progress);
      } catch (error) {
        const reason = `${title} is not available: ${(error as Error).message}`;
        for (const name of variables) parts.unavailable[name] = reason;
        throw error;
      }
    },
  }));
}

function vllmPart(cache: string, parts: Parts, signal: AbortSignal): Part {
  return {
    title: 'vLLM image',
    variables: ['TEST_VLLM_IMAGE'],
    provide: async (onProgress) => {
      const host = parts.env.DOCKER_HOST;
      if (!host) throw new Error('there is no Docker engine');
      const source = await ensureVllmImage({
        docker: dockerClient(host),
        cacheDir: cache,
        signal,
        onProgress,
      });
      parts.env.TEST_VLLM_IMAGE = VLLM_IMAGE;
      return `${VLLM_IMAGE}, ${source}`;
    },
  };
}
