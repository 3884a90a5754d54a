import { z } from 'zod';
import {
  customImage,
  huggingfaceImage,
  infinityImage,
  llamacppImage,
  sglangImage,
  teiImage,
  tgiImage,
  vllmImage,
} from './images/containers.ts';

export * from './images/containers.ts';

/**
 * The `model.image` variants this installation can run, by the public API's keys, and `infinity`, which is our own. Exactly
 * one key is given; one that is not here is refused by name.
 */
export const IMAGE_VARIANTS = {
  custom: customImage,
  huggingface: huggingfaceImage,
  infinity: infinityImage,
  llamacpp: llamacppImage,
  sGLang: sglangImage,
  tei: teiImage,
  tgi: tgiImage,
  vLLM: vllmImage,
} as const;
export type ImageVariant = keyof typeof IMAGE_VARIANTS;

type SettingsOf<Variant extends ImageVariant> = z.infer<(typeof IMAGE_VARIANTS)[Variant]>;

/** Exactly one variant's key with its settings. */
export type Image = { [V in ImageVariant]: { [K in V]: SettingsOf<V> } }[ImageVariant];

export type VariantSettings = { [V in ImageVariant]: { variant: V; settings: SettingsOf<V> } }[ImageVariant];

/** The one variant of an image and its settings. */
export function variantOf(image: Image): VariantSettings {
  const [[variant, settings] = []] = Object.entries(image);
  return { variant, settings } as VariantSettings;
}

/** Older clients write `health_route`; the rest of the wire format is camelCase. */
function withHealthRoute(settings: unknown): unknown {
  if (typeof settings !== 'object' || settings === null || !('health_route' in settings)) return settings;
  const { health_route, ...rest } = settings as Record<string, unknown>;
  return { healthRoute: health_route, ...rest };
}

/** The same with what the platform chooses where it is left out. Where it has no image, one must be named. */
const IMAGE_REQUESTS = {
  custom: customImage,
  huggingface: huggingfaceImage,
  infinity: infinityImage,
  llamacpp: llamacppImage.partial({
    url: true,
    ctxSize: true,
    nParallel: true,
    threadsHttp: true,
    modelPath: true,
  }),
  sGLang: sglangImage.partial({ url: true }),
  tei: teiImage.partial({ url: true }),
  tgi: tgiImage.partial({ url: true }),
  vLLM: vllmImage.partial({ url: true }),
} as const satisfies Record<ImageVariant, z.ZodType>;

export type SettingsRequest<V extends ImageVariant = ImageVariant> = z.infer<(typeof IMAGE_REQUESTS)[V]>;

/** `model.image` as it is written: one variant, some of its settings left to the platform. */
export type ImageRequest = { [V in ImageVariant]: { [K in V]: SettingsRequest<V> } }[ImageVariant];

/** The one variant of a request and what it says. */
export function requestedVariant(image: ImageRequest): { variant: ImageVariant; settings: SettingsRequest } {
  const [[variant, settings] = []] = Object.entries(image);
  return { variant: variant as ImageVariant, settings: settings as SettingsRequest };
}

/** A request as an image when it leaves nothing out; else what it leaves out, as `llamacpp.ctxSize`. */
export function imageOf(image: ImageRequest): { ok: true; image: Image } | { ok: false; fields: string[] } {
  const { variant, settings } = requestedVariant(image);
  const parsed = IMAGE_VARIANTS[variant].safeParse(settings);
  if (parsed.success) return { ok: true, image: { [variant]: parsed.data } as Image };
  return { ok: false, fields: parsed.error.issues.map(({ path }) => [variant, ...path].join('.')) };
}

export const imageSchema = z
  .record(z.string(), z.unknown())
  .transform((value, ctx): ImageRequest => {
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
    const parsed = IMAGE_REQUESTS[variant].safeParse(withHealthRoute(value[key]));
    if (!parsed.success) {
      for (const issue of parsed.error.issues)
        ctx.addIssue({ code: 'custom', message: issue.message, path: [key, ...issue.path] });
      return z.NEVER;
    }
    return { [variant]: parsed.data } as ImageRequest;
  })
  .meta({
    description:
      'Exactly one variant key, such as `llamacpp` or `vLLM`, with its container settings. What is left out is chosen from the model and the hardware.',
  });
