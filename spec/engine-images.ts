import { z } from 'zod';

const image = z.string().min(1);

/**
 * The images the platform takes where an endpoint does not name one: per engine, by the kind of hardware. TEI has a build
 * per generation of GPUs, told apart by the beginning of the tag.
 */
export const engineImagesSchema = z.strictObject({
  llamacpp: z.strictObject({
    image,
    gpuImage: image.default('ghcr.io/ggml-org/llama.cpp:server-cuda'),
  }),
  vLLM: z
    .strictObject({ image, cpuImage: image })
    .default({ image: 'vllm/vllm-openai:v0.27.1', cpuImage: 'vllm/vllm-openai-cpu:v0.27.1-x86_64' }),
  sGLang: z.strictObject({ image }).default({ image: 'lmsysorg/sglang:v0.5.19-cu129' }),
  tgi: z.strictObject({ image, cpuImage: image }).default({
    image: 'ghcr.io/huggingface/text-generation-inference:3.3.5',
    cpuImage: 'ghcr.io/huggingface/text-generation-inference:3.3.5-intel-cpu',
  }),
  tei: z
    .strictObject({ image, version: z.string().min(1) })
    .default({ image: 'ghcr.io/huggingface/text-embeddings-inference', version: '1.9' }),
});
export type EngineImages = z.infer<typeof engineImagesSchema>;
