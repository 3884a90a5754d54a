import assert from 'node:assert/strict';
import { ENGINES, engineFor } from '../../engines/index.ts';
import { EndpointsError } from '../../spec/errors.ts';
import { type Image, imageSchema } from '../../spec/images.ts';
import { HARDWARE, type Hardware } from './fixtures/hardware.ts';

interface Wish {
  on: Hardware;
  image: Image;
  task?: string;
  args?: string[];
  command?: string[];
  env?: Record<string, string>;
}

function refusalOf({ on, image, task, args, command, env }: Wish) {
  const { engine, settings } = engineFor(image);
  return engine.checkSettings(settings, HARDWARE[on], {
    task: task ?? null,
    args: args ?? [],
    command: command ?? [],
    env: env ?? {},
  });
}

const VLLM = 'vllm/vllm-openai:v0.23.0';
const SGLANG = 'lmsysorg/sglang:v0.5.21';
const TGI = 'ghcr.io/huggingface/text-generation-inference:3.3.5';
const TEI = 'ghcr.io/huggingface/text-embeddings-inference';

const REFUSED: [string, Wish, string, RegExp][] = [
  [
    'vLLM without a GPU',
    { on: 'cpu8', image: { vLLM: { url: VLLM } } },
    'model.image.vLLM.url',
    /needs a GPU and cpu x8 has none.*vllm-openai-cpu/,
  ],
  [
    'vLLM for CPUs on a GPU',
    { on: 'l4', image: { vLLM: { url: 'vllm/vllm-openai-cpu:latest-x86_64' } } },
    'model.image.vLLM.url',
    /idle/,
  ],
  [
    'vLLM on Inferentia',
    { on: 'inf2', image: { vLLM: { url: VLLM } } },
    'model.image.vLLM.url',
    /does not run on inf2 x1/,
  ],
  [
    'vLLM on a GPU that is too old',
    { on: 'v100', image: { vLLM: { url: VLLM } } },
    'compute.instanceType',
    /7\.5 or more and the V100 .* has 7\.0/,
  ],
  [
    'vLLM on several GPUs, not told how',
    { on: 'l4x4', image: { vLLM: { url: VLLM } } },
    'model.image.vLLM.tensorParallelSize',
    /4 GPUs: set tensorParallelSize 4/,
  ],
  [
    'vLLM on more GPUs than there are',
    { on: 'l4', image: { vLLM: { url: VLLM, tensorParallelSize: 2 } } },
    'model.image.vLLM.tensorParallelSize',
    /tensorParallelSize 2 does not match nvidia-l4 x1, which has 1 GPU: their product must be 1/,
  ],
  [
    'vLLM leaving GPUs idle',
    { on: 'l4x4', image: { vLLM: { url: VLLM, tensorParallelSize: 2 } } },
    'model.image.vLLM.tensorParallelSize',
    /must be 4/,
  ],
  [
    'vLLM with a product too large',
    { on: 'l4x4', image: { vLLM: { url: VLLM, tensorParallelSize: 4, dataParallelSize: 2 } } },
    'model.image.vLLM.tensorParallelSize',
    /tensorParallelSize 4 × dataParallelSize 2 = 8/,
  ],
  [
    'vLLM with too few copies',
    { on: 'l4x4', image: { vLLM: { url: VLLM, dataParallelSize: 2 } } },
    'model.image.vLLM.dataParallelSize',
    /= 2 does not match/,
  ],
  [
    'vLLM with stages that do not add up',
    { on: 'l4x4', image: { vLLM: { url: VLLM, tensorParallelSize: 4 } }, args: ['-pp=2'] },
    'model.image.vLLM.tensorParallelSize',
    /pipeline stages 2 = 8/,
  ],
  [
    'vLLM with a batch smaller than its sequences',
    { on: 'l4', image: { vLLM: { url: VLLM, maxNumSeqs: 256, maxNumBatchedTokens: 128 } } },
    'model.image.vLLM.maxNumBatchedTokens',
    /at least 256/,
  ],
  [
    'SGLang without a GPU',
    { on: 'cpu8', image: { sGLang: { url: SGLANG } } },
    'model.image.sGLang.url',
    /needs a GPU/,
  ],
  [
    'SGLang on several GPUs, not told how',
    { on: 'a100x2', image: { sGLang: { url: SGLANG } } },
    'model.image.sGLang.tensorParallelSize',
    /set tensorParallelSize 2/,
  ],
  [
    'SGLang with copies that do not divide the GPUs',
    { on: 'l4x4', image: { sGLang: { url: SGLANG, tensorParallelSize: 3 } }, args: ['--dp', '2'] },
    'model.image.sGLang.tensorParallelSize',
    /does not divide the 4 GPUs/,
  ],
  ['TGI without a GPU', { on: 'cpu8', image: { tgi: { url: TGI } } }, 'model.image.tgi.url', /-intel-cpu/],
  [
    'TGI for embeddings',
    { on: 'l4', image: { tgi: { url: TGI } }, task: 'feature-extraction' },
    'model.task',
    /only generates text.*TEI/,
  ],
  [
    'TGI without room to generate',
    { on: 'l4', image: { tgi: { url: TGI, maxInputLength: 4096, maxTotalTokens: 4096 } } },
    'model.image.tgi.maxInputLength',
    /below 4096/,
  ],
  [
    'TGI with a batch smaller than a query',
    { on: 'l4', image: { tgi: { url: TGI, maxTotalTokens: 4096, maxBatchTotalTokens: 2048 } } },
    'model.image.tgi.maxBatchTotalTokens',
    /at least 4096/,
  ],
  [
    'TGI with a prefill larger than a batch',
    { on: 'l4', image: { tgi: { url: TGI, maxBatchPrefillTokens: 4096, maxBatchTotalTokens: 2048 } } },
    'model.image.tgi.maxBatchPrefillTokens',
    /at most 2048/,
  ],
  [
    'TGI quantised and with a dtype',
    { on: 'l4', image: { tgi: { url: TGI, quantize: 'awq' } }, args: ['--dtype', 'float16'] },
    'model.image.tgi.quantize',
    /exclude each other/,
  ],
  [
    'TGI quantised and with a dtype by variable',
    { on: 'l4', image: { tgi: { url: TGI, quantize: 'awq' } }, env: { DTYPE: 'float16' } },
    'model.image.tgi.quantize',
    /exclude each other/,
  ],
  [
    'TGI with an argument of several words',
    { on: 'l4', image: { tgi: { url: TGI } }, args: ['--cuda-graphs', '1, 2'] },
    'model.args',
    /breaks '1, 2' at its spaces/,
  ],
  [
    'TEI on a generative model',
    { on: 'cpu2', image: { tei: { url: `${TEI}:cpu-1.9` } }, task: 'text-generation' },
    'model.task',
    /TEI embeds.*text-generation/,
  ],
  [
    'TEI on several GPUs',
    { on: 'a100x2', image: { tei: { url: `${TEI}:1.9` } } },
    'compute.instanceSize',
    /one GPU/,
  ],
  [
    'TEI for GPUs without one',
    { on: 'cpu2', image: { tei: { url: `${TEI}:1.9` } } },
    'model.image.tei.url',
    /a tag starting with cpu-/,
  ],
  [
    'TEI for CPUs on a GPU',
    { on: 'l4', image: { tei: { url: `${TEI}:cpu-1.9` } } },
    'model.image.tei.url',
    /idle/,
  ],
  [
    'TEI built for another GPU',
    { on: 'l4', image: { tei: { url: `${TEI}:hopper-1.9` } } },
    'model.image.tei.url',
    /9\.0 and the L4 .* has 8\.9: use a tag starting with 89-/,
  ],
  [
    'TEI without prefix on a newer GPU',
    { on: 'h100', image: { tei: { url: `${TEI}:1.9.3` } } },
    'model.image.tei.url',
    /starting with hopper-/,
  ],
  [
    'TEI for a newer GPU on an A100',
    { on: 'a100', image: { tei: { url: `${TEI}:89-1.9` } } },
    'model.image.tei.url',
    /a tag without prefix/,
  ],
  [
    'the toolkit on Inferentia',
    { on: 'inf2', image: { huggingface: {} } },
    'model.image.huggingface',
    /choose cpu or gpu/,
  ],
];

const TAKEN: [string, Wish][] = [
  [
    "a TEI image of the owner's own on CPUs",
    { on: 'cpu2', image: { tei: { url: 'registry.example/tei:prod' } } },
  ],
  ['TEI for all GPUs', { on: 'h100', image: { tei: { url: `${TEI}:cuda-1.9` } } }],
  ['one stage per GPU', { on: 'a100x2', image: { vLLM: { url: VLLM } }, args: ['-pp', '2'] }],
  ['TGI with words in a variable', { on: 'l4', image: { tgi: { url: TGI } }, env: { CUDA_GRAPHS: '1, 2' } }],
  [
    'TGI with words after a command of the owner',
    { on: 'l4', image: { tgi: { url: TGI } }, command: ['text-generation-launcher'], args: ['1, 2'] },
  ],
  [
    'llama.cpp anywhere',
    {
      on: 'v100',
      image: { llamacpp: { url: 'x', ctxSize: 0, nParallel: 1, threadsHttp: 1, modelPath: 'm.gguf' } },
    },
  ],
  ['any container on anything', { on: 'inf2', image: { custom: { url: 'x' } } }],
];

describe('settings that contradict each other or the hardware', () => {
  for (const [name, wish, field, message] of REFUSED) {
    it(`refuse ${name}`, () => {
      const refusal = refusalOf(wish);
      assert.equal(refusal?.field, field);
      assert.match(refusal?.message ?? '', message);
    });
  }
  for (const [name, wish] of TAKEN) it(`take ${name}`, () => assert.equal(refusalOf(wish), null));
});

describe('arguments by which the platform reaches an engine', () => {
  const refused: [keyof typeof ENGINES, string[], string][] = [
    ['vLLM', ['--model', 'x'], '--model'],
    ['vLLM', ['--max-model-len', '1', '--host=0.0.0.0'], '--host'],
    ['vLLM', ['--served_model_name', 'x', '--api_key', 'x'], '--api_key'],
    ['vLLM', ['-tp', '2'], '-tp'],
    ['vLLM', ['--data-parallel-size=2'], '--data-parallel-size'],
    ['sGLang', ['--model-path', 'x'], '--model-path'],
    ['sGLang', ['--api-key', 'x'], '--api-key'],
    ['sGLang', ['--tp', '2'], '--tp'],
    ['tgi', ['--model-id', 'x'], '--model-id'],
    ['tgi', ['-p', '1'], '-p'],
    ['tgi', ['--num-shard', '2'], '--num-shard'],
    ['tei', ['--uds-path', 'x'], '--uds-path'],
    ['tei', ['--hostname', 'x'], '--hostname'],
  ];
  for (const [variant, args, flag] of refused) {
    it(`${variant} refuses ${args.join(' ')}`, () => {
      const engine = ENGINES[variant];
      assert.ok(engine.checkArgs(args)?.includes(`must not set ${flag}:`), String(engine.checkArgs(args)));
      assert.throws(
        () =>
          engine.container({
            settings: { url: 'x' },
            instance: HARDWARE.l4,
            env: {},
            command: [],
            args,
            gpus: [0],
            servedName: 'a/b',
          }),
        (error) => error instanceof EndpointsError && error.code === 'BAD_ARGS',
      );
    });
  }
});

describe('image settings', () => {
  it('drop what a variant does not know, and take null for not set', () => {
    const given = {
      vLLM: { url: 'x', tensorParallelSize: 2, maxNumSeqs: null, quantize: 'awq', health_route: '/up' },
    };
    assert.deepEqual(imageSchema.parse(given), {
      vLLM: { url: 'x', tensorParallelSize: 2, maxNumSeqs: null, healthRoute: '/up' },
    });
    assert.deepEqual(imageSchema.parse({ huggingface: { url: 'x' } }), { huggingface: {} });
  });

  const refused: [string, unknown, RegExp][] = [
    [
      'a variant that does not exist',
      { hfServe: { url: 'x' } },
      /hfServe.*custom, huggingface, infinity, llamacpp, sGLang, tei, tgi, vLLM/,
    ],
    ['another spelling of a variant', { vllm: { url: 'x' } }, /unknown image variant 'vllm'/],
    ['a custom container without url', { custom: {} }, /expected string/],
    ['a cache type the engine does not have', { sGLang: { url: 'x', kvCacheDtype: 'fp8' } }, /kvCacheDtype/],
    ['no GPU at all', { vLLM: { url: 'x', tensorParallelSize: 0 } }, /tensorParallelSize/],
    ['a prefill of no tokens', { sGLang: { url: 'x', chunkedPrefillSize: 0 } }, /-1 to turn it off/],
    ['an unknown quantisation', { tgi: { url: 'x', quantize: 'q4' } }, /quantize/],
    ['an unknown pooling', { tei: { url: 'x', pooling: 'max' } }, /pooling/],
  ];
  for (const [name, image, message] of refused) {
    it(`refuse ${name}`, () => assert.match(String(imageSchema.safeParse(image).error?.message), message));
  }
});
