import assert from 'node:assert/strict';
import { engineFor } from '../../engines/index.ts';
import { driverRefusal, driverSuits } from '../../spec/driver.ts';
import type { Image } from '../../spec/images.ts';

const llama = (url: string): Image => ({
  llamacpp: { url, ctxSize: 1, nParallel: 1, threadsHttp: 1, modelPath: 'a.gguf' },
});

describe("engines: what an image asks of the host's driver", () => {
  const table: [image: Image, branch: number | null, env?: Record<string, string>][] = [
    [{ vLLM: { url: 'vllm/vllm-openai:v0.27.1' } }, 525],
    [{ vLLM: { url: 'vllm/vllm-openai:v0.27.1-cu130' } }, 580],
    [{ vLLM: { url: 'vllm/vllm-openai:v0.27.1-cu129' } }, 525],
    [{ vLLM: { url: 'vllm/vllm-openai:v0.27.1-cu130' } }, 535, { VLLM_ENABLE_CUDA_COMPATIBILITY: '1' }],
    [{ sGLang: { url: 'lmsysorg/sglang:v0.5.19' } }, 525],
    [{ sGLang: { url: 'lmsysorg/sglang:v0.5.19-cu129' } }, 525],
    [{ sGLang: { url: 'lmsysorg/sglang:v0.5.21' } }, 580],
    [{ sGLang: { url: 'lmsysorg/sglang:latest' } }, 580],
    [{ sGLang: { url: 'site.example/sglang:ours' } }, 525],
    [{ tgi: { url: 'ghcr.io/huggingface/text-generation-inference:3.3.5' } }, 535],
    [llama('ghcr.io/ggml-org/llama.cpp:server-cuda'), 525],
    [llama('ghcr.io/ggml-org/llama.cpp:server-cuda-b11434'), 525],
    [llama('ghcr.io/ggml-org/llama.cpp:server-cuda13'), 580],
    [llama('ghcr.io/ggml-org/llama.cpp:server-vulkan'), null],
    [{ custom: { url: 'nginx' } }, null],
  ];
  for (const [image, branch, env = {}] of table) {
    it(`${JSON.stringify(image)} ${Object.keys(env)}: ${branch}`, () => {
      const { engine, settings } = engineFor(image);
      assert.equal(engine.driverNeed?.(settings, env)?.branch ?? null, branch);
    });
  }

  it('is met by the branch of the version, and by a driver that is not known', () => {
    const need = { branch: 580, because: 'it is built with CUDA 13' };
    const suits = (version: string) => driverSuits({ version, cuda: null }, need);
    assert.deepEqual(['580.65.06', '590.1', '575.57.08', '58.0', 'odd'].map(suits), [
      true,
      true,
      false,
      false,
      true,
    ]);
    assert.equal(driverSuits(null, need), true);
    assert.equal(
      driverRefusal('a/b:1', '535.104.05', need),
      'a/b:1 needs NVIDIA driver 580 or newer (it is built with CUDA 13) and there is 535.104.05: update the driver, or choose an image for an older CUDA',
    );
  });
});
