import type { Instance } from '../../spec/hardware.ts';
import { type Image, variantOf } from '../../spec/images.ts';
import type { ModelFacts } from '../../spec/model-facts.ts';
import { flagValue } from '../args.ts';
import type { ModelRequest, RepositoryFile } from '../engine.ts';
import type { FitInput } from '../fit/fit.ts';
import { KV_BYTES } from '../fit/kv.ts';
import type { SizedEngine } from '../fit/memory.ts';
import { type ModelShape, shapeOfConfig, shapeOfGguf } from '../fit/shape.ts';
import type { ModelWeights } from '../fit/weights.ts';

/** A model as the fit arithmetic takes it. */
export type SizedModel = FitInput['model'];

/** The size of a model from its facts and the files that an engine takes of it; null when they hold no weights. */
export function sizeOf(facts: ModelFacts, selected: readonly RepositoryFile[]): SizedModel | null {
  const shape = shapeOf(facts);
  const gguf = selected.filter(({ path }) => /\.gguf$/i.test(path));
  if (gguf.length) return { shape, weights: { fileBytes: bytesOf(gguf) } };
  const safetensors = selected.filter(({ path }) => path.endsWith('.safetensors'));
  if (facts.weights?.format === 'safetensors' && safetensors.length)
    return { shape, weights: { parameters: facts.weights.parameters } };
  const stored = safetensors.length
    ? safetensors
    : selected.filter(({ path }) => /\.(bin|pt|pth)$/.test(path));
  if (stored.length === 0) return null;
  return { shape, weights: weightsOfFiles(bytesOf(stored), facts) };
}

export function shapeOf({ config, weights }: Pick<ModelFacts, 'config' | 'weights'>): ModelShape | null {
  return weights?.format === 'gguf' ? shapeOfGguf(weights.metadata) : shapeOfConfig(config);
}

/** Without headers the configuration tells how the numbers are stored; without that, the files count as they are. */
function weightsOfFiles(bytes: number, { config }: ModelFacts): ModelWeights {
  const dtype = config?.torch_dtype ?? config?.dtype;
  const quantised = config?.quantization_config != null;
  if (quantised || typeof dtype !== 'string') return { fileBytes: bytes };
  return dtype === 'float32' ? { parameters: { F32: bytes / 4 } } : { parameters: { BF16: bytes / 2 } };
}

function bytesOf(files: readonly RepositoryFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

const set = (...flags: string[]): ReadonlySet<string> => new Set(flags);
const VLLM_LENGTH = set('--max-model-len');
const SGLANG_LENGTH = set('--context-length');
const LLAMA_LENGTH = set('-c', '--ctx-size');
const LLAMA_SLOTS = set('-np', '--parallel');
/** Ways to lay a model out which the arithmetic does not follow. */
const UNSIZED: readonly string[] = [
  '--pipeline-parallel-size',
  '-pp',
  '--pp-size',
  '--dp-size',
  '--dp',
  '--cpu-offload-gb',
  '--swap-space',
  '--cpu-moe',
  '-cmoe',
  '--n-cpu-moe',
  '-ncmoe',
  '-ot',
  '--override-tensor',
];

/** A question to the arithmetic, without model and hardware. */
export type Wish = Omit<FitInput, 'model' | 'instance'>;
type Unset<T> = { [K in keyof T]?: T[K] | undefined };

/** What the owner's settings mean for the arithmetic; null where they lay the model out in a way it does not follow. */
export function wishOf(
  image: Image,
  { args, env }: Pick<ModelRequest, 'args' | 'env'>,
  instance: Instance,
  shape: ModelShape | null,
): Wish | null {
  if (args.some((arg) => UNSIZED.includes(arg.split('=', 1)[0] ?? ''))) return null;
  const { variant, settings } = variantOf(image);
  const value = (flags: ReadonlySet<string>) => flagValue(args, flags);
  const base = (engine: SizedEngine, rest: Unset<Wish>): Wish => ({ engine, ...defined(rest) });
  switch (variant) {
    case 'vLLM':
      return base('vllm', {
        context: lengthIn(value(VLLM_LENGTH)),
        tensorParallel: settings.tensorParallelSize ?? undefined,
        kvBytes: KV_BYTES[settings.kvCacheDtype ?? value(set('--kv-cache-dtype')) ?? 'auto'],
        utilisation: shareIn(value(set('--gpu-memory-utilization'))),
      });
    case 'sGLang':
      return base('sglang', {
        context: lengthIn(value(SGLANG_LENGTH)),
        tensorParallel: settings.tensorParallelSize ?? undefined,
        kvBytes: KV_BYTES[settings.kvCacheDtype ?? value(set('--kv-cache-dtype')) ?? 'auto'],
        utilisation: shareIn(value(set('--mem-fraction-static'))),
      });
    case 'tgi':
      return base('tgi', { context: settings.maxTotalTokens ?? undefined });
    case 'tei':
      return base('tei', {});
    case 'huggingface':
      return base('huggingface', {});
    case 'custom':
    case 'infinity':
      return null;
    case 'llamacpp': {
      const layers = settings.nGpuLayers;
      const all = shape ? shape.fullLayers + (shape.sliding?.layers ?? 0) : 0;
      // Some layers on the GPUs and the rest in main memory.
      if (instance.gpus > 0 && layers !== undefined && layers < all) return null;
      const sequences = lengthIn(value(LLAMA_SLOTS)) ?? settings.nParallel;
      const total = lengthIn(value(LLAMA_LENGTH)) ?? settings.ctxSize;
      const type = value(set('-ctk', '--cache-type-k')) ?? env.LLAMA_ARG_CACHE_TYPE_K ?? 'f16';
      return base('llamacpp', {
        // 0 takes the model's own context, over all slots.
        context: Math.floor((total || (shape?.maxContext ?? 0)) / sequences) || undefined,
        sequences,
        kvBytes: KV_BYTES[type],
      });
    }
  }
}

function defined(rest: Unset<Wish>): Partial<Wish> {
  return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
}

/** `4096`, and `8k` or `1M` as vLLM takes them (lower case: thousands, upper case: powers of two). */
function lengthIn(value: string | undefined): number | undefined {
  const { number, unit } = /^(?<number>\d{1,9})(?<unit>[kKmM]?)$/.exec(value ?? '')?.groups ?? {};
  if (number === undefined) return undefined;
  return Number(number) * ({ k: 1000, K: 1024, m: 1e6, M: 1024 ** 2 }[unit ?? ''] ?? 1);
}

function shareIn(value: string | undefined): number | undefined {
  const share = Number(value);
  return value !== undefined && share > 0 && share <= 1 ? share : undefined;
}
