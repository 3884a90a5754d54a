import { z } from 'zod';

/**
 * The `model.image` variants this installation can run. Exactly one key is given. A field that a variant does not know
 * is ignored, as the public API does; a variant key it does not know is refused by name (see `parseImage`).
 */
const port = z.int().min(1).max(65_535);

const baseContainer = z.object({
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

export const IMAGE_VARIANTS = { custom: customImage, llamacpp: llamacppImage } as const;
export type ImageVariant = keyof typeof IMAGE_VARIANTS;

export type CustomImage = z.infer<typeof customImage>;
export type LlamacppImage = z.infer<typeof llamacppImage>;
export type Image = { custom: CustomImage } | { llamacpp: LlamacppImage };

/** The one variant of an image and its settings. */
export function variantOf(
  image: Image,
): { variant: 'custom'; settings: CustomImage } | { variant: 'llamacpp'; settings: LlamacppImage } {
  return 'custom' in image
    ? { variant: 'custom', settings: image.custom }
    : { variant: 'llamacpp', settings: image.llamacpp };
}

/** Older clients write `health_route`; the rest of the wire format is camelCase. */
function withHealthRoute(settings: unknown): unknown {
  if (typeof settings !== 'object' || settings === null || !('health_route' in settings)) return settings;
  const { health_route, ...rest } = settings as Record<string, unknown>;
  return { healthRoute: health_route, ...rest };
}

export const imageSchema = z
  .record(z.string(), z.unknown())
  .transform((value, ctx): Image => {
    const keys = Object.keys(value);
    const known = Object.keys(IMAGE_VARIANTS).join(', ');
    const [key] = keys;
    if (key === undefined || keys.length > 1) {
      ctx.addIssue({
        code: 'custom',
        message: `give exactly one image variant (one of ${known}), not ${keys.length}`,
      });
      return z.NEVER;
    }
    if (!Object.hasOwn(IMAGE_VARIANTS, key)) {
      ctx.addIssue({
        code: 'custom',
        message: `unknown image variant '${key}': choose one of ${known}`,
        path: [key],
      });
      return z.NEVER;
    }
    const variant = key as ImageVariant;
    const parsed = IMAGE_VARIANTS[variant].safeParse(withHealthRoute(value[key]));
    if (!parsed.success) {
      for (const issue of parsed.error.issues)
        ctx.addIssue({ code: 'custom', message: issue.message, path: [key, ...issue.path] });
      return z.NEVER;
    }
    return { [variant]: parsed.data } as Image;
  })
  .meta({ description: 'Exactly one variant key (`custom` or `llamacpp`) with its container settings.' });
