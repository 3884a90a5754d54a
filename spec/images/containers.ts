import { z } from 'zod';

/**
 * The container settings behind each key of `model.image`, with the public API's field names. Fields a variant does not
 * know are dropped, also silently in the public API.
 */

const port = z.int().min(1).max(65_535);

export const baseContainer = z.object({
  /** Image reference, such as `ghcr.io/ggml-org/llama.cpp:server`. */
  url: z.string().min(1).max(512),
  /** Port the server listens on inside the container. Default: the engine's own (`custom`: 80). */
  port: port.optional(),
  /** Path answered with 200 once the server is ready. Default: the engine's own (`custom`: none). */
  healthRoute: z.string().startsWith('/').max(256).nullish(),
});

/** How registry credentials are stored with the spec and sent back: they are set, and they are not shown. */
export const REDACTED_CREDENTIALS = { username: '', password: null } as const;

export function isRedacted(given: { username: string; password?: string | null | undefined }): boolean {
  return given.username === '' && given.password == null;
}

/** Both values, or the redacted form as it was read: in an update that keeps what is stored. */
const credentials = z
  .object({ username: z.string(), password: z.string().nullish() })
  .refine((given) => isRedacted(given) || (given.username !== '' && given.password), {
    message: 'give both username and password; {"username":"","password":null} keeps the stored ones',
  });

export const customImage = baseContainer.extend({ credentials: credentials.nullish() });

export const llamacppImage = baseContainer.extend({
  /** Tokens of context over all slots together: tokens per request × `nParallel`. 0 takes the model's own. */
  ctxSize: z.int().min(0),
  /** Slots: requests decoded at the same time. */
  nParallel: z.int().min(1).max(256),
  threadsHttp: z.int().min(1).max(256),
  /** GGUF file inside the repository, such as `model-Q4_K_M.gguf`; for a sharded model its first shard. */
  modelPath: z.string().min(1).max(512),
  nGpuLayers: z.int().min(0).optional(),
  mode: z.enum(['chat', 'embeddings']).optional(),
  pooling: z.enum(['none', 'mean', 'cls', 'last', 'rank']).optional(),
  /** Glob of the GGUF files to fetch when `modelPath` is not all that is needed, such as `*Q4_K_M*.gguf`. */
  variant: z.string().min(1).max(256).nullish(),
  mmprojModelPath: z.string().min(1).max(512).nullish(),
});

const count = z.int().min(1).max(1_000_000_000).nullish();
const gpuCount = z.int().min(1).max(64).nullish();

export const vllmImage = baseContainer.extend({
  /** GPUs that share each layer. With `dataParallelSize`, their product is the GPU count of the instance. */
  tensorParallelSize: gpuCount,
  /** Copies of the model beside each other in one container. */
  dataParallelSize: gpuCount,
  maxNumSeqs: count,
  maxNumBatchedTokens: count,
  kvCacheDtype: z.enum(['auto', 'fp8', 'fp8_e5m2', 'fp8_e4m3']).nullish(),
});

export const sglangImage = baseContainer.extend({
  tensorParallelSize: gpuCount,
  maxRunningRequests: count,
  maxPrefillTokens: count,
  /** Tokens of a prompt computed at once; -1 turns the cutting of prompts off. */
  chunkedPrefillSize: z
    .int()
    .refine((size) => size === -1 || size >= 1, { message: 'give a number of tokens, or -1 to turn it off' })
    .nullish(),
  kvCacheDtype: z.enum(['auto', 'fp8_e5m2', 'fp8_e4m3']).nullish(),
});

/** Left out, the token limits are sized by TGI itself to the hardware, which it does well. */
export const tgiImage = baseContainer.extend({
  maxInputLength: count,
  maxTotalTokens: count,
  maxBatchPrefillTokens: count,
  maxBatchTotalTokens: count,
  quantize: z
    .enum([
      'awq',
      'compressed-tensors',
      'eetq',
      'exl2',
      'gptq',
      'marlin',
      'bitsandbytes',
      'bitsandbytes-nf4',
      'bitsandbytes-fp4',
      'fp8',
    ])
    .nullish(),
  disableCustomKernels: z.boolean().nullish(),
});

export const teiImage = baseContainer.extend({
  maxBatchTokens: count,
  maxConcurrentRequests: count,
  /** Left out, the model's own. */
  pooling: z.enum(['cls', 'mean', 'splade', 'last-token']).nullish(),
});

export const infinityImage = baseContainer.extend({
  /** Texts computed at once. Left out, 32. */
  batchSize: z.int().min(1).max(4096).nullish(),
});

/** The Inference Toolkit: nothing to set, the platform chooses the image. */
export const huggingfaceImage = z.object({});

export type CustomImage = z.infer<typeof customImage>;
export type LlamacppImage = z.infer<typeof llamacppImage>;
export type VllmImage = z.infer<typeof vllmImage>;
export type SglangImage = z.infer<typeof sglangImage>;
export type TgiImage = z.infer<typeof tgiImage>;
export type TeiImage = z.infer<typeof teiImage>;
export type InfinityImage = z.infer<typeof infinityImage>;
export type HuggingfaceImage = z.infer<typeof huggingfaceImage>;
