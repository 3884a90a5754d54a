import { z } from 'zod';
import { llamacppImage, sglangImage, teiImage, tgiImage, vllmImage } from '../spec/images.ts';

/** How the weights are stored, by which their size follows from the count of parameters. */
const weights = z.union([
  z.strictObject({
    billions: z.number().positive(),
    format: z.enum(['fp32', 'fp16', 'bf16', 'fp8', 'int8', 'awq', 'gptq', 'nf4', 'mxfp4', 'nvfp4']),
  }),
  z.strictObject({ billions: z.number().positive(), gguf: z.string().min(1) }),
]);

/** Everything said, nothing unknown: in a request an unknown field is dropped, here it would be a mistake nobody sees. */
const image = z.union([
  z.strictObject({ llamacpp: llamacppImage.strict() }),
  z.strictObject({ sGLang: sglangImage.strict() }),
  z.strictObject({ tei: teiImage.strict() }),
  z.strictObject({ tgi: tgiImage.strict() }),
  z.strictObject({ vLLM: vllmImage.strict() }),
]);

const recipe = z.strictObject({
  /** The public id: never given to another recipe, because scripts name it. */
  id: z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'lower-case words with hyphens between them'),
  hardware: z.strictObject({
    accelerator: z.enum(['cpu', 'gpu', 'neuron']),
    type: z.string().min(1),
    size: z.string().min(1),
  }),
  image,
  args: z.array(z.string()).default([]),
  env: z.record(z.string(), z.string()).default({}),
  revision: z.string().min(1).optional(),
  weights,
  /** Tokens of one request the settings leave room for. */
  context: z.int().positive(),
  /** Why this engine, hardware and these settings. */
  reason: z.string().min(20),
  /** Where and with what it has run for real. */
  tried: z.string().min(1).optional(),
});

const model = z.strictObject({
  repository: z.string().regex(/^[\w.-]+\/[\w.-]+$/, "write it as 'owner/name'"),
  license: z.string().min(1),
  task: z.string().min(1),
  /** When it came into the catalogue. */
  added: z.iso.date(),
  /** The owner of the repository lets in whom they accept: the installation needs a Hub token that was. */
  gated: z.boolean().default(false),
  /** The first is the default. */
  recipes: z.array(recipe).min(1),
});

export const recipeFile = z.array(model).min(1);

export type Recipe = z.infer<typeof recipe>;
/** A model with all its recipes, of all files. */
export type CatalogModel = z.infer<typeof model>;
