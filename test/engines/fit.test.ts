import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type FitInput, fitOn } from '../../engines/fit/fit.ts';
import { kvBytes, kvBytesPerToken, tokensWithin } from '../../engines/fit/kv.ts';
import { GIB } from '../../engines/fit/memory.ts';
import { type ModelShape, shapeOfConfig, shapeOfGguf } from '../../engines/fit/shape.ts';
import { type ModelWeights, weightBytes } from '../../engines/fit/weights.ts';
import type { Instance } from '../../spec/hardware.ts';
import { HARDWARE } from './fixtures/hardware.ts';
import type { ModelFixture } from './fixtures/models.ts';
import * as models from './fixtures/models.ts';

function shapeOf({ name, config }: ModelFixture): ModelShape {
  const shape = shapeOfConfig(config);
  assert.ok(shape, name);
  return shape;
}

/** As the Hub tells it: parameters per dtype. */
function sized(fixture: ModelFixture, dtype = 'BF16'): { weights: ModelWeights; shape: ModelShape } {
  return { weights: { parameters: { [dtype]: fixture.billions * 1e9 } }, shape: shapeOf(fixture) };
}

/** Within a tenth of a value worked out by hand. */
function near(actual: number, expected: number, what: string): void {
  assert.ok(Math.abs(actual - expected) <= 0.1 * expected, `${what}: ${actual} is not near ${expected}`);
}

describe('fit: worked values', () => {
  /** Weights in GiB, KiB of cache per token, GiB of cache at 8 k and at 32 k tokens, rule of thumb in GiB. */
  const table: [ModelFixture, number, number, number, number, number][] = [
    [models.QWEN25_05B, 0.92, 12, 0.09, 0.38, 3.1],
    [models.QWEN3_06B, 1.11, 112, 0.88, 3.5, 3.3],
    [models.LLAMA32_1B, 2.3, 32, 0.25, 1, 4.8],
    [models.QWEN25_7B, 14.19, 56, 0.44, 1.75, 19],
    [models.MISTRAL_7B, 13.5, 128, 1, 4, 18.2],
    [models.LLAMA31_8B, 14.96, 128, 1, 4, 19.9],
    [models.QWEN25_32B, 61, 256, 2, 8, 75.2],
    [models.LLAMA31_70B, 131.4, 320, 2.5, 10, 159.7],
    [models.LLAMA31_405B, 756, 504, 3.9, 15.8, 909],
  ];
  for (const [fixture, weightsGib, perTokenKib, at8k, at32k, thumbGib] of table) {
    it(fixture.name, () => {
      const { weights, shape } = sized(fixture);
      near(weightBytes(weights) / GIB, weightsGib, 'weights');
      near(kvBytesPerToken(shape) / 1024, perTokenKib, 'cache per token');
      near(kvBytes(shape, 8192) / GIB, at8k, 'cache at 8 k');
      near(kvBytes(shape, 32_768) / GIB, at32k, 'cache at 32 k');
      const unknown = fitOn({ engine: 'vllm', model: { weights, shape: null }, instance: HARDWARE.a100 });
      near(unknown.need / GIB, thumbGib, 'rule of thumb');
    });
  }

  it('Llama-3.1-8B on one L4: 20.7 GiB usable, some 34 k tokens of cache, 4 × 8 k and not 128 k', () => {
    const input = { engine: 'vllm', model: sized(models.LLAMA31_8B), instance: HARDWARE.l4 } as const;
    const one = fitOn({ ...input, context: 8192 });
    near(one.usable / GIB, 20.7, 'usable');
    near(one.overhead / GIB, 1.5, 'overhead');
    near(one.longestContext ?? 0, 34_000, 'longest context');
    assert.equal(fitOn({ ...input, context: 8192, sequences: 4 }).ok, true);
    assert.equal(fitOn({ ...input, context: 131_072 }).ok, false);
  });
});

describe('fit: what a model is made of', () => {
  const kib: [ModelFixture, number][] = [
    [models.DEEPSEEK_V3, 68.6],
    [models.MIXTRAL_8X7B, 128],
    [models.QWEN3_30B, 96],
    [models.PHI3_MINI, 384],
    [models.QWEN3_NEXT, 24],
    [models.GPT2, 36],
  ];
  for (const [fixture, expected] of kib) {
    it(`${fixture.name} caches ${expected} KiB per token`, () =>
      near(kvBytesPerToken(shapeOf(fixture)) / 1024, expected, 'cache per token'));
  }

  it('a latent is on every GPU in full, heads are divided and at least one each', () => {
    const latent = shapeOf(models.DEEPSEEK_V3);
    assert.equal(kvBytesPerToken(latent, 2, 8), kvBytesPerToken(latent, 2, 1));
    const heads = shapeOf(models.LLAMA31_70B);
    assert.equal(kvBytesPerToken(heads, 2, 4), kvBytesPerToken(heads) / 4);
    assert.equal(kvBytesPerToken(heads, 2, 16), kvBytesPerToken(heads, 2, 8));
  });

  const windows: [
    ModelFixture,
    { fullLayers: number; sliding: { layers: number; window: number } | null },
  ][] = [
    [models.GEMMA3_27B, { fullLayers: 10, sliding: { layers: 52, window: 1024 } }],
    [models.GEMMA2_9B, { fullLayers: 21, sliding: { layers: 21, window: 4096 } }],
    [models.GPT_OSS_20B, { fullLayers: 12, sliding: { layers: 12, window: 128 } }],
    [models.PHI3_MINI, { fullLayers: 0, sliding: { layers: 32, window: 2047 } }],
    [models.QWEN25_05B, { fullLayers: 24, sliding: null }],
    [models.QWEN3_NEXT, { fullLayers: 12, sliding: null }],
  ];
  for (const [fixture, { fullLayers, sliding }] of windows) {
    it(`${fixture.name} has ${fullLayers} layers that look back without bound`, () => {
      const shape = shapeOf(fixture);
      assert.deepEqual({ fullLayers: shape.fullLayers, sliding: shape.sliding }, { fullLayers, sliding });
    });
  }

  it('a window keeps its tokens and no more', () => {
    const shape = shapeOf(models.GEMMA3_27B);
    const perLayer = 2 * 16 * 128 * 2;
    assert.equal(kvBytes(shape, 32_768), perLayer * (10 * 32_768 + 52 * 1024));
    assert.ok(kvBytes(shape, 131_072) < 0.2 * kvBytesPerToken(shape) * 131_072);
  });

  it('a GGUF file tells it in its own names, possibly as bigint', () => {
    const metadata = {
      'general.architecture': 'llama',
      'llama.block_count': 32n,
      'llama.embedding_length': 4096,
      'llama.attention.head_count': 32,
      'llama.attention.head_count_kv': 8,
      'llama.context_length': 131_072n,
      'llama.feed_forward_length': 14_336,
      'llama.vocab_size': 128_256,
    };
    assert.deepEqual(shapeOfGguf(metadata), shapeOf(models.LLAMA31_8B));
    assert.equal(shapeOfGguf({ 'general.architecture': 'llama' }), null);
  });

  it('a GGUF file may tell heads per layer, windows, a latent, and its vocabulary by its length', () => {
    const of = (architecture: string, rest: Record<string, unknown>) =>
      shapeOfGguf({
        'general.architecture': architecture,
        [`${architecture}.block_count`]: 4,
        [`${architecture}.embedding_length`]: 64,
        [`${architecture}.attention.head_count`]: 8,
        'tokenizer.ggml.tokens.length': 1000,
        ...rest,
      });
    const hybrid = of('lfm2', { 'lfm2.attention.head_count_kv': [0, 4, 0, 4] });
    assert.deepEqual([hybrid?.fullLayers, hybrid?.kvHeads, hybrid?.vocabSize], [2, 4, 1000]);
    const windows = of('gemma2', { 'gemma2.attention.sliding_window': 4096 });
    assert.deepEqual([windows?.fullLayers, windows?.sliding], [2, { layers: 2, window: 4096 }]);
    const latent = of('deepseek2', {
      'deepseek2.attention.kv_lora_rank': 512,
      'deepseek2.rope.dimension_count': 64,
    });
    assert.equal(latent?.latentSize, 576);
  });

  it('a stretched context counts where the configuration does not count it already', () => {
    const context = (rope_scaling: object, max_position_embeddings = 32_768) =>
      shapeOfConfig({ ...models.QWEN25_7B.config, max_position_embeddings, rope_scaling })?.maxContext;
    const yarn = { type: 'yarn', factor: 4, original_max_position_embeddings: 32_768 };
    assert.equal(context(yarn), 131_072);
    assert.equal(context(yarn, 131_072), 131_072);
    assert.equal(context({ rope_type: 'linear', factor: 2 }), 65_536);
    assert.equal(context({ rope_type: 'llama3', factor: 8 }, 131_072), 131_072);
  });

  it('what is no transformer has no shape', () => {
    for (const config of [null, 'x', [], {}, { hidden_size: 1 }]) assert.equal(shapeOfConfig(config), null);
  });

  const weights: [string, ModelWeights, number][] = [
    ['half precision', { count: 8e9, format: 'bf16' }, 14.9],
    ['single precision', { count: 8e9, format: 'fp32' }, 29.8],
    ['8-bit floats', { count: 8e9, format: 'fp8' }, 7.45],
    ['AWQ with its scales', { count: 8e9, format: 'awq' }, 4.19],
    ['MXFP4', { count: 20.9e9, format: 'mxfp4' }, 10.3],
    ['several dtypes', { parameters: { BF16: 1e9, F8_E4M3: 7e9, F32: 1e6 } }, 8.39],
    ['a GGUF file of Q8_0', { count: 8.03e9, gguf: 'Q8_0' }, 7.95],
    ['a GGUF file of Q4_K_M, 4.92 GB', { count: 8.03e9, gguf: 'Q4_K_M' }, 4.58],
    ['the files themselves', { fileBytes: 4.92e9 }, 4.58],
  ];
  for (const [name, source, expected] of weights)
    it(`weights: ${name}`, () => near(weightBytes(source) / GIB, expected, name));

  it('unquantised weights are loaded in the precision of the engine, quantised ones as they are', () => {
    assert.equal(weightBytes({ parameters: { F32: 100 } }, 2), 200);
    assert.equal(weightBytes({ parameters: { BF16: 100 } }, 4), 400);
    assert.equal(weightBytes({ parameters: { F16: 10, I32: 100 } }, 4), 420);
    assert.equal(weightBytes({ fileBytes: 7 }, 2), 7);
  });
});

describe('fit: on hardware', () => {
  const cases: [string, FitInput, boolean, RegExp][] = [
    [
      '7 B on an L4',
      { engine: 'vllm', model: sized(models.QWEN25_7B), instance: HARDWARE.l4 },
      true,
      /14\.19 GiB weights .* = .* of 20\.70 GiB usable in one GPU of nvidia-l4 x1/,
    ],
    [
      '7 B on a T4',
      { engine: 'vllm', model: sized(models.QWEN25_7B), instance: HARDWARE.t4 },
      false,
      /usable in one GPU of nvidia-t4 x1/,
    ],
    [
      '7 B in single precision, loaded in half, on an L4',
      { engine: 'vllm', model: sized(models.QWEN25_7B, 'F32'), instance: HARDWARE.l4 },
      true,
      /14\.19 GiB weights/,
    ],
    [
      '32 B on an L40S',
      { engine: 'vllm', model: sized(models.QWEN25_32B), instance: HARDWARE.l40s },
      false,
      /61\.0/,
    ],
    [
      '32 B quantised on an L40S',
      {
        engine: 'vllm',
        model: { weights: { count: 32.76e9, format: 'awq' }, shape: shapeOf(models.QWEN25_32B) },
        instance: HARDWARE.l40s,
      },
      true,
      /17\.16 GiB weights/,
    ],
    [
      '70 B on one A100',
      { engine: 'sglang', model: sized(models.LLAMA31_70B), instance: HARDWARE.a100 },
      false,
      /131\.4/,
    ],
    [
      '70 B on two A100',
      { engine: 'vllm', model: sized(models.LLAMA31_70B), instance: HARDWARE.a100x2 },
      true,
      /each of 2 GPUs/,
    ],
    [
      '70 B on four A100 with TGI',
      { engine: 'tgi', model: sized(models.LLAMA31_70B), instance: HARDWARE.a100x4 },
      true,
      /each of 4 GPUs/,
    ],
    [
      '405 B in half precision on eight H100',
      { engine: 'vllm', model: sized(models.LLAMA31_405B), instance: HARDWARE.h100x8 },
      false,
      /94\.5/,
    ],
    [
      '405 B in 8 bit on eight H100',
      { engine: 'vllm', model: sized(models.LLAMA31_405B, 'F8_E4M3'), instance: HARDWARE.h100x8 },
      true,
      /each of 8 GPUs/,
    ],
    [
      'DeepSeek-V3 on eight H100',
      { engine: 'sglang', model: sized(models.DEEPSEEK_V3, 'F8_E4M3'), instance: HARDWARE.h100x8 },
      false,
      /79\.6/,
    ],
    [
      'DeepSeek-V3 on eight H200',
      { engine: 'sglang', model: sized(models.DEEPSEEK_V3, 'F8_E4M3'), instance: HARDWARE.h200x8 },
      true,
      /each of 8 GPUs/,
    ],
    [
      '14 heads over four GPUs',
      { engine: 'vllm', model: sized(models.QWEN25_05B), instance: HARDWARE.l4x4, tensorParallel: 4 },
      false,
      /14 attention heads cannot be split over 4 GPUs/,
    ],
    [
      '14 heads over two GPUs',
      { engine: 'vllm', model: sized(models.QWEN25_05B), instance: HARDWARE.l4x4, tensorParallel: 2 },
      true,
      /each of 2 GPUs/,
    ],
    [
      '14 heads over all of four GPUs with TGI',
      { engine: 'tgi', model: sized(models.QWEN25_05B), instance: HARDWARE.l4x4 },
      false,
      /cannot be split/,
    ],
    [
      'a context beyond the model',
      { engine: 'vllm', model: sized(models.QWEN25_05B), instance: HARDWARE.a100, context: 40_000 },
      false,
      /longer than the 32768/,
    ],
    [
      'a GGUF file in main memory',
      {
        engine: 'llamacpp',
        model: { weights: { fileBytes: 4.92e9 }, shape: shapeOf(models.LLAMA31_8B) },
        instance: HARDWARE.cpu8,
        context: 4096,
      },
      true,
      /memory of cpu x8/,
    ],
    [
      'the same in little memory',
      {
        engine: 'llamacpp',
        model: { weights: { fileBytes: 4.92e9 }, shape: shapeOf(models.LLAMA31_8B) },
        instance: HARDWARE.cpu2,
        context: 4096,
      },
      false,
      /4\.00 GiB usable in memory/,
    ],
    [
      'layers over four GPUs with llama.cpp',
      {
        engine: 'llamacpp',
        model: { weights: { fileBytes: 42.5e9 }, shape: shapeOf(models.LLAMA31_70B) },
        instance: HARDWARE.l4x4,
        context: 8192,
      },
      true,
      /9\.90 GiB weights/,
    ],
    [
      'embeddings on two CPUs',
      { engine: 'tei', model: sized(models.MINILM, 'F32'), instance: HARDWARE.cpu2 },
      true,
      /0\.00 GiB cache/,
    ],
    [
      'an 8-bit cache',
      { engine: 'vllm', model: sized(models.LLAMA31_8B), instance: HARDWARE.l4, context: 60_000, kvBytes: 1 },
      true,
      /1 × 60000/,
    ],
    [
      'the same cache in half precision',
      { engine: 'vllm', model: sized(models.LLAMA31_8B), instance: HARDWARE.l4, context: 60_000 },
      false,
      /7\.32 GiB cache/,
    ],
    [
      'a smaller share of the GPU',
      { engine: 'vllm', model: sized(models.QWEN25_7B), instance: HARDWARE.l4, utilisation: 0.7 },
      false,
      /15\.75 GiB usable/,
    ],
  ];
  for (const [name, input, ok, message] of cases) {
    it(`${name}: ${ok ? 'fits' : 'does not fit'}`, () => {
      const result = fitOn(input);
      assert.equal(result.ok, ok, result.message);
      assert.match(result.message, message);
    });
  }

  it('takes the fewest GPUs per copy that fit', () => {
    assert.equal(
      fitOn({ engine: 'vllm', model: sized(models.LLAMA31_8B), instance: HARDWARE.l4x4 }).tensorParallel,
      1,
    );
    assert.equal(
      fitOn({ engine: 'vllm', model: sized(models.QWEN25_32B), instance: HARDWARE.a100x4 }).tensorParallel,
      1,
    );
    assert.equal(
      fitOn({ engine: 'vllm', model: sized(models.LLAMA31_70B), instance: HARDWARE.a100x4 }).tensorParallel,
      2,
    );
  });

  it('chooses a usual context where there is room, and a shorter one where there is less', () => {
    const input = { engine: 'vllm', model: sized(models.LLAMA31_8B) } as const;
    assert.equal(fitOn({ ...input, instance: HARDWARE.a100 }).context, 32_768);
    const four = fitOn({ ...input, instance: HARDWARE.l4, sequences: 4 });
    assert.ok(four.ok && four.context > 8000 && four.context < 9000, String(four.context));
  });

  it('takes the size of a GPU from the catalogue when it is the smaller of its kind', () => {
    const small = { ...HARDWARE.a100, gpuMemoryGb: 40 };
    near(
      fitOn({ engine: 'vllm', model: sized(models.QWEN25_7B), instance: small }).usable / GIB,
      39.4 * 0.92,
      'usable',
    );
  });
});

describe('fit: always', () => {
  const anyModel = fc.constantFrom(...Object.values(models));
  const anyEngine = fc.constantFrom('vllm', 'sglang', 'tgi', 'llamacpp', 'tei', 'huggingface');
  const anyInstance = fc
    .constantFrom<Instance>(...Object.values(HARDWARE))
    .filter(({ accelerator }) => accelerator !== 'neuron');
  const context = fc.integer({ min: 1, max: 200_000 });

  it('holds when there is more memory, less context, fewer sequences or a smaller model', () => {
    fc.assert(
      fc.property(
        anyModel,
        anyEngine,
        anyInstance,
        context,
        fc.integer({ min: 1, max: 32 }),
        (fixture, engine, instance, tokens, sequences) => {
          const model = sized(fixture);
          const input: FitInput = { engine, model, instance, context: tokens, sequences };
          if (!fitOn(input).ok) return;
          const larger = {
            ...instance,
            type: 'gpu',
            memoryGb: instance.memoryGb * 2,
            gpuMemoryGb: (instance.gpuMemoryGb ?? 0) * 2,
          };
          const easier: FitInput[] = [
            { ...input, instance: instance.gpus ? larger : { ...larger, type: 'cpu' } },
            { ...input, context: Math.ceil(tokens / 2) },
            { ...input, sequences: 1 },
            { ...input, kvBytes: 1 },
            { ...input, model: { ...model, weights: { fileBytes: weightBytes(model.weights) / 2 } } },
          ];
          for (const one of easier) assert.ok(fitOn(one).ok, fitOn(one).message);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('the longest context it names fits, and one more token does not', () => {
    fc.assert(
      fc.property(anyModel, anyInstance, (fixture, instance) => {
        const input: FitInput = { engine: 'vllm', model: sized(fixture), instance, tensorParallel: 1 };
        const { longestContext } = fitOn(input);
        const limit = shapeOf(fixture).maxContext ?? 0;
        if (longestContext === null || longestContext === 0) return;
        assert.ok(fitOn({ ...input, context: longestContext }).ok);
        if (longestContext < limit) assert.ok(!fitOn({ ...input, context: longestContext + 1 }).ok);
      }),
    );
  });

  it('the tokens that fit into a room are the inverse of the room they take', () => {
    fc.assert(
      fc.property(anyModel, context, (fixture, tokens) => {
        const shape = shapeOf(fixture);
        const found = tokensWithin(shape, kvBytes(shape, tokens));
        // With all windows full and nothing else growing, any length takes the same room.
        if (shape.fullLayers === 0 && tokens >= (shape.sliding?.window ?? 0)) assert.ok(found >= tokens - 1);
        else assert.ok(Math.abs(found - tokens) <= 1, `${fixture.name}: ${found} for ${tokens}`);
      }),
    );
  });
});
