import type { LlamacppImage, SettingsRequest } from '../../spec/images.ts';
import { fitOn } from '../fit/fit.ts';
import { type GgufVariant, projectorOf } from './gguf-files.ts';
import { modelKind } from './kind.ts';
import type { Completion, CompletionInput } from './settings.ts';
import { shapeOf } from './size.ts';

/** Tokens per request that a conversation needs; on CPUs reading more of them takes minutes. */
const CPU_CONTEXT = 8192;
const GPU_CONTEXT = 32_768;
const CPU_SLOTS = 2;
const GPU_SLOTS = 4;
/** Below this the slots are given up before the context. */
const LEAST_CONTEXT = 2048;
/** Beside one thread per slot, for health and metrics. */
const SPARE_THREADS = 2;
/** "All of them", where the number of layers is not known. */
const ALL_LAYERS = 999;

/** llama.cpp's settings where its owner left them out, for one file of the repository. */
export function completeLlamacpp(
  request: SettingsRequest<'llamacpp'>,
  input: CompletionInput,
  url: string,
  variant: GgufVariant,
): Completion<LlamacppImage> {
  const { facts, files, instance, model } = input;
  const shape = shapeOf(facts);
  const kind = modelKind(facts, model.task);
  const mode = request.mode ?? (kind === 'embed' || kind === 'rank' ? 'embeddings' : undefined);
  const projector =
    request.mmprojModelPath ?? (facts.pipelineTag === 'image-text-to-text' ? projectorOf(files) : null);
  const { slots, context } = sizes(request, input, variant.sizeBytes + sizeOfFile(input, projector));
  const gpuLayers =
    request.nGpuLayers ??
    (instance.gpus === 0
      ? undefined
      : shape
        ? shape.fullLayers + (shape.sliding?.layers ?? 0) + 1
        : ALL_LAYERS);
  return {
    settings: {
      ...request,
      url,
      modelPath: variant.path,
      ctxSize: request.ctxSize ?? slots * context,
      nParallel: slots,
      threadsHttp: request.threadsHttp ?? slots + SPARE_THREADS,
      ...(gpuLayers === undefined ? {} : { nGpuLayers: gpuLayers }),
      ...(mode ? { mode } : {}),
      ...(kind === 'rank' && !request.pooling ? { pooling: 'rank' as const } : {}),
      ...(projector ? { mmprojModelPath: projector } : {}),
    },
    args: [],
  };
}

/** As many slots as are usual here, with a context of use to each; fewer where the memory is short. */
function sizes(
  request: SettingsRequest<'llamacpp'>,
  { facts, instance }: CompletionInput,
  fileBytes: number,
): { slots: number; context: number } {
  const gpu = instance.gpus > 0;
  const shape = shapeOf(facts);
  const limit = shape?.maxContext ?? LEAST_CONTEXT * 2;
  const usual = Math.min(limit, gpu ? GPU_CONTEXT : CPU_CONTEXT);
  const contextWith = (slots: number) => {
    if (!shape) return usual;
    const model = { weights: { fileBytes }, shape };
    const fit = fitOn({ engine: 'llamacpp', model, instance, sequences: slots });
    return Math.min(usual, fit.longestContext ?? usual);
  };
  const wanted = request.nParallel ?? (gpu ? GPU_SLOTS : CPU_SLOTS);
  const fewest = request.nParallel ?? 1;
  const least = Math.min(LEAST_CONTEXT, usual);
  const slots = contextWith(wanted) >= least ? wanted : fewest;
  // The engine rounds to 256; less than is of use is left to the check, which says so with the arithmetic.
  const context = Math.max(least, Math.floor(contextWith(slots) / 256) * 256);
  return { slots, context };
}

function sizeOfFile({ files }: CompletionInput, path: string | null | undefined): number {
  return files.find((file) => file.path === path)?.sizeBytes ?? 0;
}
