import type { Instance } from '../../spec/hardware.ts';
import { gpuFacts } from '../gpus.ts';
import type { ModelShape } from './shape.ts';

export const GIB = 1024 ** 3;
/** A nominal GB is 10⁹ bytes, and the driver keeps some. */
const NOMINAL_TO_GIB = 1e9 / GIB;

/** The engines whose use of memory is known, by `Engine.name`. */
export type SizedEngine = 'vllm' | 'sglang' | 'tgi' | 'llamacpp' | 'tei' | 'huggingface';

export interface MemoryProfile {
  /** Share of a GPU's memory the engine takes. */
  utilisation: number;
  /** Memory of a GPU it leaves alone, in GiB. */
  reservedGib: number;
  /** Libraries, CUDA context and graphs on each GPU, in GiB. */
  runtimeGib: number;
  /** The same in main memory on an instance without GPU; null: it does not run there with its usual image. */
  cpuRuntimeGib: number | null;
  /** Tokens computed at once, which the activations grow with. */
  batchTokens: number;
  /** Bytes an unquantised parameter takes once loaded; null as stored. */
  floatBytes: { gpu: 2 | 4 | null; cpu: 2 | 4 | null };
  /** Keeps keys and values of the context. */
  cache: boolean;
  /** GPUs hold a slice of every layer each, so that they must divide the attention heads. */
  splitsHeads: boolean;
  /** Can use more than one GPU. */
  spreads: boolean;
  /** Least compute capability, times ten. */
  capability: number;
}

/** Shares and defaults of the engines' own documentation; the overheads are what their start leaves out of the cache. */
export const PROFILES: Readonly<Record<SizedEngine, MemoryProfile>> = {
  vllm: {
    utilisation: 0.92,
    reservedGib: 0,
    runtimeGib: 1.2,
    cpuRuntimeGib: null,
    batchTokens: 2048,
    floatBytes: { gpu: 2, cpu: 2 },
    cache: true,
    splitsHeads: true,
    spreads: true,
    capability: 75,
  },
  sglang: {
    utilisation: 0.88,
    reservedGib: 0,
    runtimeGib: 1.2,
    cpuRuntimeGib: null,
    batchTokens: 2048,
    floatBytes: { gpu: 2, cpu: 2 },
    cache: true,
    splitsHeads: true,
    spreads: true,
    capability: 75,
  },
  tgi: {
    utilisation: 0.95,
    reservedGib: 0,
    runtimeGib: 1.5,
    cpuRuntimeGib: null,
    batchTokens: 4096,
    floatBytes: { gpu: 2, cpu: 2 },
    cache: true,
    splitsHeads: true,
    spreads: true,
    capability: 80,
  },
  llamacpp: {
    utilisation: 1,
    reservedGib: 1,
    runtimeGib: 0.5,
    cpuRuntimeGib: 0.2,
    batchTokens: 512,
    floatBytes: { gpu: null, cpu: null },
    cache: true,
    splitsHeads: false,
    spreads: true,
    capability: 60,
  },
  tei: {
    utilisation: 0.95,
    reservedGib: 0,
    runtimeGib: 0.8,
    cpuRuntimeGib: 0.3,
    batchTokens: 16_384,
    floatBytes: { gpu: 2, cpu: 4 },
    cache: false,
    splitsHeads: false,
    spreads: false,
    capability: 75,
  },
  huggingface: {
    utilisation: 0.95,
    reservedGib: 0,
    runtimeGib: 1.5,
    cpuRuntimeGib: 1.5,
    batchTokens: 2048,
    floatBytes: { gpu: null, cpu: null },
    cache: true,
    splitsHeads: false,
    spreads: false,
    capability: 70,
  },
};

/** Bytes of one device (a GPU, or the main memory) that an engine may fill. */
export function usableBytes(profile: MemoryProfile, instance: Instance, utilisation?: number): number {
  if (instance.gpus === 0) return instance.memoryGb * GIB;
  return (gpuGib(instance) * (utilisation ?? profile.utilisation) - profile.reservedGib) * GIB;
}

/** GiB of main memory that vLLM is told to use for its cache on CPUs: its own default of 4 would break a small instance. */
export function cpuCacheGib(instance: Pick<Instance, 'memoryGb'>): number {
  return Math.max(1, Math.floor(instance.memoryGb / 4));
}

/** Memory a program sees on one GPU, in GiB. */
export function gpuGib(instance: Instance): number {
  const nominal = instance.gpuMemoryGb === undefined ? null : instance.gpuMemoryGb / instance.gpus;
  const facts = gpuFacts(instance);
  // A kind of GPU comes in several sizes: never more than the catalogue says.
  if (facts) return Math.min(facts.usableGib, (nominal ?? Infinity) * 0.99);
  return (nominal ?? 0) * NOMINAL_TO_GIB;
}

/**
 * Bytes on each device beside weights and cache. Activations: about four hidden and three inner vectors of two bytes per
 * token of a batch are alive at once, and logits in two precisions for 128 sequences. At least 1.5 GiB on a GPU with an
 * engine that captures graphs, which is what they are seen to take.
 */
export function overheadBytes(
  profile: MemoryProfile,
  shape: ModelShape | null,
  instance: Instance,
  split: number,
): number {
  const batch = profile.batchTokens;
  const activations = shape
    ? batch * 2 * (4 * shape.hiddenSize + (3 * shape.intermediateSize) / split) +
      (profile.cache ? 128 * shape.vocabSize * 6 : 0)
    : 0;
  if (instance.gpus === 0) return (profile.cpuRuntimeGib ?? 2) * GIB + Math.min(activations, 0.5 * GIB);
  const least = profile.splitsHeads ? 1.5 * GIB : 0;
  return Math.max(least, profile.runtimeGib * GIB + activations);
}
