import { z } from 'zod';
import {
  type CustomImage,
  customImage,
  type HuggingfaceImage,
  huggingfaceImage,
  type LlamacppImage,
  llamacppImage,
  type SglangImage,
  sglangImage,
  type TeiImage,
  type TgiImage,
  teiImage,
  tgiImage,
  type VllmImage,
  vllmImage,
} from './images/containers.ts';

export * from './images/containers.ts';

/**
 * The `model.image` variants this installation can run, by the public API's keys. Exactly one key is given; one that is
 * not here is refused by name.
 */
export const IMAGE_VARIANTS = {
  custom: customImage,
  huggingface: huggingfaceImage,
  llamacpp: llamacppImage,
  sGLang: sglangImage,
  tei: teiImage,
  tgi: tgiImage,
  vLLM: vllmImage,
} as const;
export type ImageVariant = keyof typeof IMAGE_VARIANTS;

export type Image =
  | { custom: CustomImage }
  | { huggingface: HuggingfaceImage }
  | { llamacpp: LlamacppImage }
  | { sGLang: SglangImage }
  | { tei: TeiImage }
  | { tgi: TgiImage }
  | { vLLM: VllmImage };

export type VariantSettings =
  | { variant: 'custom'; settings: CustomImage }
  | { variant: 'huggingface'; settings: HuggingfaceImage }
  | { variant: 'llamacpp'; settings: LlamacppImage }
  | { variant: 'sGLang'; settings: SglangImage }
  | { variant: 'tei'; settings: TeiImage }
  | { variant: 'tgi'; settings: TgiImage }
  | { variant: 'vLLM'; settings: VllmImage };

/** The one variant of an image and its settings. */
export function variantOf(image: Image): VariantSettings {
  if ('custom' in image) return { variant: 'custom', settings: image.custom };
  if ('huggingface' in image) return { variant: 'huggingface', settings: image.huggingface };
  if ('llamacpp' in image) return { variant: 'llamacpp', settings: image.llamacpp };
  if ('sGLang' in image) return { variant: 'sGLang', settings: image.sGLang };
  if ('tei' in image) return { variant: 'tei', settings: image.tei };
  if ('tgi' in image) return { variant: 'tgi', settings: image.tgi };
  return { variant: 'vLLM', settings: image.vLLM };
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
  .meta({
    description: 'Exactly one variant key, such as `llamacpp` or `vLLM`, with its container settings.',
  });
