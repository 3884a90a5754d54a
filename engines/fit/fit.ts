import type { Instance } from '../../spec/hardware.ts';
import { nameOf } from '../hardware-rules.ts';
import { kvBytes, tokensWithin } from './kv.ts';
import {
  cpuCacheGib,
  GIB,
  type MemoryProfile,
  overheadBytes,
  PROFILES,
  type SizedEngine,
  usableBytes,
} from './memory.ts';
import type { ModelShape } from './shape.ts';
import { type ModelWeights, weightBytes } from './weights.ts';

/** Context taken when nobody asked for one: what most uses need, and models of 128 k tokens rarely have room for more. */
const USUAL_CONTEXT = 32_768;
/** Below this many tokens per request a chat is of no use. */
const LEAST_CONTEXT = 2048;
/** Cache and rest of a model of unknown shape, on top of its weights: 20 % and 2 GiB. */
const UNKNOWN_SHARE = 1.2;
const UNKNOWN_BYTES = 2 * GIB;
/** In main memory the engine's own need is known better than that. */
const unknownBytes = ({ cpuRuntimeGib }: MemoryProfile, { gpus }: Instance) =>
  gpus === 0 && cpuRuntimeGib !== null ? cpuRuntimeGib * GIB : UNKNOWN_BYTES;

export interface FitInput {
  engine: SizedEngine;
  /** `shape` null: the config could not be read, and a rule of thumb is taken. */
  model: { weights: ModelWeights; shape: ModelShape | null };
  instance: Instance;
  /** Tokens of one request; not given, as many as are usual and fit. */
  context?: number;
  /** Requests of that length at the same time. Default 1: the least with which the engine starts. */
  sequences?: number;
  tensorParallel?: number;
  /** Bytes of a cached number: `KV_BYTES`. Default 2. */
  kvBytes?: number;
  /** Share of the GPU's memory, when the owner changed it. */
  utilisation?: number;
}

/** All sizes in bytes on each device: a GPU, or the main memory. */
export interface Fit {
  ok: boolean;
  /** What stands against it: too little memory, a context beyond the model's, or heads that GPUs cannot share. */
  refused: 'memory' | 'context' | 'heads' | null;
  /** GPUs that share one copy of the model. */
  tensorParallel: number;
  usable: number;
  weights: number;
  cache: number;
  overhead: number;
  need: number;
  /** Tokens of one request the arithmetic was done with. */
  context: number;
  /** The longest context that would fit, 0 when not even the weights do; null when the shape is unknown. */
  longestContext: number | null;
  /** The arithmetic in a sentence. */
  message: string;
}

/**
 * Whether a model fits: on each device, weights + cache + overhead within what the engine may fill. The GPUs of an
 * instance hold one copy of the model together, or several beside each other: the fewest GPUs per copy that fit are
 * taken, of those that divide its attention heads.
 */
export function fitOn(input: FitInput): Fit {
  const [first, ...others] = splits(input).map((split) => tryFit(input, split));
  if (!first) return headsRefusal(input);
  return [first, ...others].find((tried) => tried.ok) ?? others.at(-1) ?? first;
}

function tryFit(input: FitInput, split: number): Fit {
  const { model, instance, sequences = 1, kvBytes: bytes = 2 } = input;
  const profile = PROFILES[input.engine];
  const { shape } = model;
  const usable = usableBytes(profile, instance, input.utilisation);
  const weights = loadedBytes(profile, model.weights, instance) / split;
  if (!shape) return unknownShape(input, split, { usable, weights });
  const overhead = overheadBytes(profile, shape, instance, split);
  const limit = shape.maxContext ?? USUAL_CONTEXT;
  // An engine that splits no heads has whole layers on each GPU, and so the cache of those.
  const headSplit = profile.splitsHeads ? split : 1;
  const shareOfLayers = profile.splitsHeads ? 1 : split;
  const free = usable - weights - overhead;
  const reserved = reservedCache(input);
  const room = reserved === null ? free : free >= reserved ? reserved : 0;
  const longest = !profile.cache
    ? room > 0
      ? limit
      : 0
    : tokensWithin(shape, (room * shareOfLayers) / sequences, bytes, headSplit);
  const wanted = Math.min(limit, USUAL_CONTEXT);
  const context = input.context ?? Math.max(Math.min(wanted, longest), Math.min(LEAST_CONTEXT, wanted));
  const filled = profile.cache ? (kvBytes(shape, context, bytes, headSplit) * sequences) / shareOfLayers : 0;
  const cache = Math.max(filled, reserved ?? 0);
  const parts = { usable, weights, cache, overhead, need: weights + cache + overhead };
  const beyond = context > limit;
  const fits = parts.need <= usable && filled <= (reserved ?? filled);
  return {
    ok: fits && !beyond,
    refused: beyond ? 'context' : fits ? null : 'memory',
    tensorParallel: split,
    ...parts,
    context,
    longestContext: Math.min(longest, limit),
    message: beyond
      ? `a context of ${context} tokens is longer than the ${limit} the model was made for`
      : arithmetic(instance, split, parts, `${sequences} × ${context} tokens`),
  };
}

/** vLLM on CPUs takes its cache out of the main memory at start, whatever the context; null for the others. */
function reservedCache({ engine, instance }: FitInput): number | null {
  return engine === 'vllm' && instance.gpus === 0 ? cpuCacheGib(instance) * GIB : null;
}

function unknownShape(
  { engine, instance, context }: FitInput,
  split: number,
  { usable, weights }: { usable: number; weights: number },
): Fit {
  const cache = weights * (UNKNOWN_SHARE - 1);
  const overhead = unknownBytes(PROFILES[engine], instance);
  const parts = { usable, weights, cache, overhead, need: weights + cache + overhead };
  return {
    ok: parts.need <= usable,
    refused: parts.need <= usable ? null : 'memory',
    tensorParallel: split,
    ...parts,
    context: context ?? LEAST_CONTEXT,
    longestContext: null,
    message: arithmetic(instance, split, parts, 'by rule of thumb'),
  };
}

/** In how many slices a copy of the model may be cut on this instance, fewest first. */
function splits({ engine, model, instance, tensorParallel }: FitInput): number[] {
  const profile = PROFILES[engine];
  const heads = profile.splitsHeads ? model.shape?.heads : undefined;
  const divides = (split: number) => heads === undefined || heads % split === 0;
  const gpus = Math.max(1, instance.gpus);
  if (tensorParallel !== undefined) return [tensorParallel].filter(divides);
  if (!profile.spreads) return [1];
  // Shards of TGI and layers of llama.cpp always go over all GPUs.
  if (engine === 'tgi' || engine === 'llamacpp') return [gpus].filter(divides);
  return [1, 2, 4, 8, 16].filter((split) => gpus % split === 0 && divides(split));
}

function loadedBytes(profile: MemoryProfile, weights: ModelWeights, instance: Instance): number {
  return weightBytes(weights, instance.gpus > 0 ? profile.floatBytes.gpu : profile.floatBytes.cpu);
}

function headsRefusal({ model, instance, tensorParallel, engine }: FitInput): Fit {
  const split = tensorParallel ?? instance.gpus;
  const profile = PROFILES[engine];
  const weights = loadedBytes(profile, model.weights, instance) / split;
  return {
    ok: false,
    refused: 'heads',
    tensorParallel: split,
    usable: usableBytes(profile, instance),
    weights,
    cache: 0,
    overhead: 0,
    need: weights,
    context: 0,
    longestContext: 0,
    message: `${model.shape?.heads} attention heads cannot be split over ${split} GPUs: their number must divide the heads`,
  };
}

function arithmetic(
  instance: Instance,
  split: number,
  parts: Pick<Fit, 'usable' | 'weights' | 'cache' | 'overhead' | 'need'>,
  cacheOf: string,
): string {
  const device = instance.gpus === 0 ? 'memory' : split > 1 ? `each of ${split} GPUs` : 'one GPU';
  return `${gib(parts.weights)} weights + ${gib(parts.cache)} cache (${cacheOf}) + ${gib(parts.overhead)} overhead = ${gib(parts.need)} of ${gib(parts.usable)} usable in ${device} of ${nameOf(instance)}`;
}

/** Bytes as GiB with two decimals. */
export function gib(bytes: number): string {
  return `${(bytes / GIB).toFixed(2)} GiB`;
}
