import type { EngineImages } from '../../spec/engine-images.ts';
import type { Instance } from '../../spec/hardware.ts';
import type { Image, ImageVariant, SettingsRequest } from '../../spec/images.ts';
import type { ModelFacts } from '../../spec/model-facts.ts';
import { flagValue } from '../args.ts';
import type { ModelRequest, RepositoryFile } from '../engine.ts';
import { type FitInput, fitOn } from '../fit/fit.ts';
import { ENGINES } from '../index.ts';
import { type GgufVariant, ggufVariants, variantAt } from './gguf-files.ts';
import { platformImage } from './images.ts';
import { completeLlamacpp } from './llamacpp.ts';
import { shapeOf, sizeOf, wishOf } from './size.ts';

export interface CompletionInput {
  facts: ModelFacts;
  files: readonly RepositoryFile[];
  instance: Instance;
  /** What the owner said of the model besides the image. */
  model: ModelRequest;
  images: EngineImages;
}

/** An engine's settings with nothing left out, and arguments to put before the owner's. */
export interface Completion<Settings> {
  settings: Settings;
  args: string[];
}

/** Where the engine has to be started differently to take less than the model's whole context. */
const LENGTH_FLAG: Partial<Record<ImageVariant, string>> = {
  vLLM: '--max-model-len',
  sGLang: '--context-length',
};
const PIPELINE = new Set(['--pipeline-parallel-size', '-pp', '--pp-size']);

/**
 * The ways to run a request on this hardware, the best first: its own settings, the rest chosen. There are several for a
 * repository of GGUF files, one per quantisation.
 */
export function completions(
  variant: ImageVariant,
  request: SettingsRequest,
  input: CompletionInput,
): { image: Image; args: string[] }[] {
  const own = 'url' in request ? request.url : undefined;
  const url = own ?? platformImage(variant, input.instance, input.images);
  if (url === null || variant === 'custom') return [{ image: { [variant]: request } as Image, args: [] }];
  if (variant === 'llamacpp')
    return variantsOf(request as SettingsRequest<'llamacpp'>, input).map((file) => {
      const { settings, args } = completeLlamacpp(request as SettingsRequest<'llamacpp'>, input, url, file);
      return { image: { llamacpp: settings }, args };
    });
  const { settings, args } =
    variant === 'vLLM' || variant === 'sGLang'
      ? spread(variant, request as SettingsRequest<'vLLM'>, input)
      : { settings: request, args: [] };
  return [{ image: { [variant]: { ...settings, url } } as Image, args }];
}

function variantsOf(request: SettingsRequest<'llamacpp'>, { files }: CompletionInput): GgufVariant[] {
  if (request.modelPath !== undefined) return [variantAt(request.modelPath, files)];
  return ggufVariants(files, request.variant);
}

/** Over how many GPUs the model is spread, and the context where the whole one would not fit. */
function spread(
  variant: 'vLLM' | 'sGLang',
  request: SettingsRequest<'vLLM'>,
  input: CompletionInput,
): Completion<SettingsRequest<'vLLM'>> {
  const { facts, files, instance, model } = input;
  const selected = ENGINES[variant].selectFiles(files, { ...request, url: '' }, model);
  const size = sizeOf(facts, selected.ok ? selected.files : files);
  const wish = wishOf({ [variant]: { ...request, url: '' } } as Image, model, instance, shapeOf(facts)) ?? {
    engine: variant === 'vLLM' ? ('vllm' as const) : ('sglang' as const),
  };
  const piped = flagValue(model.args, PIPELINE) !== undefined;
  const ways =
    instance.gpus > 1 && !piped
      ? waysOver(variant, request, input, size && { ...wish, model: size, instance })
      : {};
  const settings = { ...request, ...ways };
  const flag = LENGTH_FLAG[variant] ?? '';
  if (!size?.shape || piped || flagValue(model.args, new Set([flag])) !== undefined)
    return { settings, args: [] };
  const fit = fitOn({
    ...wish,
    model: size,
    instance,
    ...(settings.tensorParallelSize ? { tensorParallel: settings.tensorParallelSize } : {}),
  });
  const whole = size.shape.maxContext === null || fit.context >= size.shape.maxContext;
  return { settings, args: whole ? [] : [flag, String(fit.context)] };
}

/** One copy over the fewest GPUs that hold it, and copies beside each other on the rest; experts are spread over all. */
function waysOver(
  variant: 'vLLM' | 'sGLang',
  { tensorParallelSize: tensor, dataParallelSize: data }: SettingsRequest<'vLLM'>,
  { facts, instance: { gpus } }: CompletionInput,
  wish: FitInput | null,
): { tensorParallelSize?: number; dataParallelSize?: number } {
  if (tensor != null && data != null) return {};
  if (tensor != null)
    return variant === 'vLLM' && tensor < gpus && gpus % tensor === 0
      ? { dataParallelSize: gpus / tensor }
      : {};
  if (data != null) return data < gpus && gpus % data === 0 ? { tensorParallelSize: gpus / data } : {};
  const heads = wish?.model.shape?.heads ?? gpus;
  if (variant === 'sGLang' || !wish || (heads % gpus === 0 && hasExperts(facts)))
    return { tensorParallelSize: gpus };
  const { tensorParallel } = fitOn(wish);
  return {
    tensorParallelSize: tensorParallel,
    ...(tensorParallel < gpus ? { dataParallelSize: gpus / tensorParallel } : {}),
  };
}

function hasExperts({ config }: ModelFacts): boolean {
  const text = (config?.text_config ?? config ?? {}) as Record<string, unknown>;
  return ['num_experts', 'num_local_experts', 'n_routed_experts'].some((key) => Number(text[key]) > 1);
}
