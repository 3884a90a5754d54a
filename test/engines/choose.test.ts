import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Choice, type ChooseInput, candidates, choose, onOffers } from '../../engines/choose/choose.ts';
import { chooseEngines } from '../../engines/choose/engine.ts';
import { ggufVariants } from '../../engines/choose/gguf-files.ts';
import {
  type Capacity,
  type HardwareRequest,
  type Offer,
  offersOf,
  openOffers,
} from '../../engines/choose/offers.ts';
import type { RepositoryFile } from '../../engines/engine.ts';
import type { ImageRequest } from '../../spec/images.ts';
import type { ModelFacts } from '../../spec/model-facts.ts';
import { facts, file, ggufs, IMAGES, transformers, VENDORS } from './fixtures/facts.ts';
import * as models from './fixtures/models.ts';

type Model = { facts: ModelFacts; files: RepositoryFile[] };
interface Want {
  image?: ImageRequest | null;
  hardware?: HardwareRequest;
  args?: string[];
  task?: string;
  capacities?: Capacity[];
  /** As if the listed machines could be had. */
  rented?: boolean;
  ignoreFit?: boolean;
}

const L4: HardwareRequest = {
  vendor: 'gcp',
  region: 'us-central1',
  accelerator: 'gpu',
  instanceType: 'nvidia-l4',
};

function ask(model: Model, want: Want = {}) {
  const all = offersOf(VENDORS, want.capacities ?? []).map((offer) =>
    want.rented && !offer.missing?.startsWith('nvidia') ? { ...offer, missing: null } : offer,
  );
  const open = openOffers(all, VENDORS, want.hardware ?? {});
  assert.ok(open.ok, JSON.stringify(open));
  const input: ChooseInput = {
    image: want.image ?? null,
    model: { task: want.task ?? model.facts.pipelineTag, command: [], args: want.args ?? [], env: {} },
    ...model,
    open: open.offers,
    all,
    images: IMAGES,
    ignoreFit: want.ignoreFit ?? false,
  };
  return choose(input);
}

function chosen(model: Model, want: Want = {}): Choice {
  const found = ask(model, want);
  assert.ok(found.ok, JSON.stringify(found));
  return found.choice;
}

function refused(model: Model, want: Want = {}): { memory: boolean; text: string } {
  const found = ask(model, want);
  assert.ok(!found.ok, JSON.stringify(found.ok && found.choice));
  return { memory: found.memory, text: `${found.refusal.field}: ${found.refusal.message}` };
}

const place = ({ offer: { vendor, instance } }: Choice) => `${vendor} ${instance.type} ${instance.size}`;

describe('choosing an engine', () => {
  const handler = transformers(models.QWEN25_7B);
  const cases: [string, Model, string | null][] = [
    ['GGUF files', ggufs({ 'a-Q4_K_M.gguf': 5e9 }), 'llamacpp'],
    ['a generating model', transformers(models.QWEN25_7B), 'vLLM'],
    ['a generating model that names no task', transformers(models.QWEN25_7B, { pipelineTag: null }), 'vLLM'],
    [
      'embeddings',
      transformers(models.MINILM, {
        pipelineTag: 'sentence-similarity',
        config: { architectures: ['BertModel'], model_type: 'bert', ...models.MINILM.config },
      }),
      'tei',
    ],
    [
      'embeddings of sentence-transformers that names no task',
      transformers(models.MINILM, {
        pipelineTag: null,
        library: 'sentence-transformers',
        config: { model_type: 'mpnet', ...models.MINILM.config },
      }),
      'tei',
    ],
    [
      'a ranker',
      transformers(models.MINILM, {
        pipelineTag: 'text-ranking',
        config: { architectures: ['XLMRobertaForSequenceClassification'], model_type: 'xlm-roberta' },
      }),
      'tei',
    ],
    [
      'a classifier that names no task',
      transformers(models.MINILM, {
        pipelineTag: null,
        config: { architectures: ['DistilBertForSequenceClassification'], model_type: 'distilbert' },
      }),
      'tei',
    ],
    [
      'a classifier TEI does not know',
      transformers(models.MINILM, {
        pipelineTag: 'text-classification',
        config: { architectures: ['BigBirdForSequenceClassification'], model_type: 'big_bird' },
      }),
      'huggingface',
    ],
    [
      'an encoder-decoder',
      transformers(models.GPT2, {
        pipelineTag: 'translation',
        config: { architectures: ['T5ForConditionalGeneration'], is_encoder_decoder: true },
      }),
      'huggingface',
    ],
    ['a handler of its own', { ...handler, files: [...handler.files, file('handler.py')] }, 'huggingface'],
    [
      'images',
      {
        facts: facts({ pipelineTag: 'text-to-image' }),
        files: [file('unet/diffusion_pytorch_model.safetensors')],
      },
      'huggingface',
    ],
    ['only words', { facts: facts(), files: [file('README.md')] }, null],
    [
      'a LoRA adapter',
      { facts: facts(), files: [file('adapter_model.safetensors'), file('adapter_config.json')] },
      'huggingface',
    ],
  ];
  for (const [what, { facts, files }, engine] of cases)
    it(`${what}: ${engine ?? 'none'}`, () => {
      const { suited, unsuited } = chooseEngines(facts, files, null);
      assert.equal(suited[0]?.variant ?? null, engine, JSON.stringify({ suited, unsuited }));
      assert.equal(suited.length + unsuited.length, 6);
      for (const { reason } of [...suited, ...unsuited]) assert.ok(reason.length > 10);
    });

  it('a task the owner names wins', () => {
    const { facts, files } = transformers(models.MINILM, { config: { model_type: 'bert' } });
    assert.equal(chooseEngines(facts, files, 'feature-extraction').suited[0]?.variant, 'tei');
  });

  it('says of every engine why not when none can', () => {
    assert.match(
      refused({ facts: facts(), files: [file('README.md')] }).text,
      /model\.repository: no engine runs 'acme\/model': tei: .*; vLLM: .*; llamacpp: the repository has no GGUF file; /,
    );
  });
});

describe('choosing among GGUF files', () => {
  const order = (names: string[], glob?: string) =>
    ggufVariants(
      names.map((name) => file(name)),
      glob,
    ).map(({ path }) => path);

  it('takes four bits first, then more, then fewer', () => {
    assert.deepEqual(
      order(['m-F16.gguf', 'm.Q2_K.gguf', 'm-Q8_0.gguf', 'm.Q5_K_M.gguf', 'm-Q4_K_M.gguf', 'm.IQ3_XS.gguf']),
      ['m-Q4_K_M.gguf', 'm.Q5_K_M.gguf', 'm-Q8_0.gguf', 'm.IQ3_XS.gguf', 'm.Q2_K.gguf', 'm-F16.gguf'],
    );
  });

  it('knows parts, and leaves out what is no model', () => {
    const files = [
      ...['m-Q4_K_M-00001-of-00002.gguf', 'm-Q4_K_M-00002-of-00002.gguf'].map((name) => file(name, 10)),
      ...['mmproj-m-f16.gguf', 'm.imatrix.gguf', 'README.md'].map((name) => file(name)),
    ];
    assert.deepEqual(ggufVariants(files), [
      { path: 'm-Q4_K_M-00001-of-00002.gguf', quantisation: 'Q4_K_M', sizeBytes: 20 },
    ]);
  });

  it('stays within a glob', () => {
    assert.deepEqual(order(['a-Q4_K_M.gguf', 'a-Q8_0.gguf'], '*Q8*'), ['a-Q8_0.gguf']);
  });

  it('takes the only file, whatever its name', () => {
    assert.deepEqual(order(['ggml-model.gguf']), ['ggml-model.gguf']);
  });
});

describe('choosing settings and hardware', () => {
  const small = ggufs(
    { 'm.Q4_K_M.gguf': 100e6 },
    {
      ...({} as object),
      'general.architecture': 'llama',
      'llama.block_count': 30,
      'llama.embedding_length': 576,
      'llama.attention.head_count': 9,
      'llama.attention.head_count_kv': 3,
      'llama.context_length': 8192,
    },
  );
  const eight = { 'm-Q4_K_M.gguf': 4.92e9, 'm-Q8_0.gguf': 8.54e9, 'm-Q2_K.gguf': 3.18e9 };

  it('a small GGUF file: the smallest CPU instance, two slots with the whole context', () => {
    const choice = chosen(small);
    assert.equal(place(choice), 'docker cpu x1');
    assert.deepEqual(choice.image, {
      llamacpp: {
        url: 'ghcr.io/ggml-org/llama.cpp:server',
        modelPath: 'm.Q4_K_M.gguf',
        ctxSize: 16_384,
        nParallel: 2,
        threadsHttp: 4,
      },
    });
  });

  it('8 B as GGUF: more memory, and on a GPU every layer there', () => {
    assert.equal(place(chosen(ggufs(eight))), 'docker cpu x4');
    const gpu = chosen(ggufs(eight), { hardware: { ...L4, instanceSize: 'x1' } });
    assert.ok('llamacpp' in gpu.image);
    assert.deepEqual(gpu.image.llamacpp, {
      url: 'ghcr.io/ggml-org/llama.cpp:server-cuda',
      modelPath: 'm-Q4_K_M.gguf',
      ctxSize: gpu.image.llamacpp.ctxSize,
      nParallel: 4,
      threadsHttp: 6,
      nGpuLayers: 33,
    });
    assert.ok(gpu.fit?.ok && gpu.image.llamacpp.ctxSize > 4 * 8192, JSON.stringify(gpu.fit));
  });

  it('a smaller file where the usual one does not fit, on hardware that is given', () => {
    const choice = chosen(ggufs(eight), {
      hardware: {
        vendor: 'docker',
        region: 'local',
        accelerator: 'cpu',
        instanceType: 'cpu',
        instanceSize: 'x2',
      },
    });
    assert.ok('llamacpp' in choice.image);
    assert.equal(choice.image.llamacpp.modelPath, 'm-Q2_K.gguf');
  });

  it('keeps what its owner says', () => {
    const choice = chosen(small, { image: { llamacpp: { ctxSize: 4096, nParallel: 1, url: 'my/llama:1' } } });
    assert.ok('llamacpp' in choice.image);
    const { url, ctxSize, nParallel, threadsHttp } = choice.image.llamacpp;
    assert.deepEqual([url, ctxSize, nParallel, threadsHttp], ['my/llama:1', 4096, 1, 3]);
  });

  it('an embedding model as GGUF: embeddings', () => {
    const bert = ggufs(
      { 'e-f16.gguf': 200e6 },
      {
        'general.architecture': 'nomic-bert',
        'nomic-bert.block_count': 12,
        'nomic-bert.embedding_length': 768,
        'nomic-bert.attention.head_count': 12,
        'nomic-bert.context_length': 2048,
      },
    );
    const { image } = chosen(bert);
    assert.equal('llamacpp' in image && image.llamacpp.mode, 'embeddings');
  });

  it('a vision model as GGUF comes with its projector', () => {
    const model = ggufs({ 'm-Q4_K_M.gguf': 2e9, 'mmproj-BF16.gguf': 8e8, 'mmproj-F16.gguf': 8e8 });
    const { image } = chosen({ ...model, facts: { ...model.facts, pipelineTag: 'image-text-to-text' } });
    assert.equal('llamacpp' in image && image.llamacpp.mmprojModelPath, 'mmproj-F16.gguf');
  });

  const rented: [string, Model, Want, place: string, image: object, args: string[]][] = [
    [
      '7 B on the smallest GPU that holds it',
      transformers(models.QWEN25_7B),
      {},
      'gcp nvidia-l4 x1',
      { vLLM: { url: IMAGES.vLLM.image } },
      [],
    ],
    [
      'half a billion on an old GPU',
      transformers(models.QWEN25_05B),
      {},
      'gcp nvidia-t4 x1',
      { vLLM: { url: IMAGES.vLLM.image } },
      [],
    ],
    [
      '8 B with less than its 128 k context',
      transformers(models.LLAMA31_8B),
      {},
      'gcp nvidia-l4 x1',
      { vLLM: { url: IMAGES.vLLM.image } },
      ['--max-model-len', '32768'],
    ],
    [
      'a context its owner sets',
      transformers(models.LLAMA31_8B),
      { args: ['--max-model-len=8k'] },
      'gcp nvidia-l4 x1',
      { vLLM: { url: IMAGES.vLLM.image } },
      ['--max-model-len=8k'],
    ],
    [
      '70 B over two GPUs',
      transformers(models.LLAMA31_70B),
      { hardware: { instanceType: 'nvidia-a100' } },
      'gcp nvidia-a100 x2',
      { vLLM: { url: IMAGES.vLLM.image, tensorParallelSize: 2 } },
      ['--max-model-len', '32768'],
    ],
    [
      '8 B on four GPUs: four copies',
      transformers(models.LLAMA31_8B),
      { hardware: { ...L4, instanceSize: 'x4' } },
      'gcp nvidia-l4 x4',
      { vLLM: { url: IMAGES.vLLM.image, tensorParallelSize: 1, dataParallelSize: 4 } },
      ['--max-model-len', '32768'],
    ],
    [
      'experts over all GPUs',
      transformers(models.QWEN3_30B),
      { hardware: { ...L4, instanceSize: 'x4' } },
      'gcp nvidia-l4 x4',
      { vLLM: { url: IMAGES.vLLM.image, tensorParallelSize: 4 } },
      ['--max-model-len', '32768'],
    ],
    [
      'SGLang over all GPUs',
      transformers(models.LLAMA31_8B),
      { image: { sGLang: {} }, hardware: { ...L4, instanceSize: 'x2' } },
      'gcp nvidia-l4 x2',
      { sGLang: { url: IMAGES.sGLang.image, tensorParallelSize: 2 } },
      ['--context-length', '32768'],
    ],
    [
      'the rest of a spread that is half given',
      transformers(models.LLAMA31_8B),
      { image: { vLLM: { tensorParallelSize: 2 } }, hardware: { ...L4, instanceSize: 'x4' } },
      'gcp nvidia-l4 x4',
      { vLLM: { url: IMAGES.vLLM.image, tensorParallelSize: 2, dataParallelSize: 2 } },
      ['--max-model-len', '32768'],
    ],
    [
      'TEI by the build for the GPU',
      transformers(models.MINILM, {
        pipelineTag: 'feature-extraction',
        config: { model_type: 'bert', ...models.MINILM.config },
      }),
      { hardware: { instanceType: 'nvidia-l4' } },
      'gcp nvidia-l4 x1',
      { tei: { url: `${IMAGES.tei.image}:89-${IMAGES.tei.version}` } },
      [],
    ],
    [
      'TEI on a CPU where nothing is said',
      transformers(models.MINILM, {
        pipelineTag: 'feature-extraction',
        config: { model_type: 'bert', ...models.MINILM.config },
      }),
      {},
      'docker cpu x1',
      { tei: { url: `${IMAGES.tei.image}:cpu-${IMAGES.tei.version}` } },
      [],
    ],
  ];
  for (const [what, model, want, where, image, args] of rented)
    it(what, () => {
      const choice = chosen(model, { rented: true, ...want });
      assert.equal(place(choice), where, choice.fit?.message);
      assert.deepEqual(choice.image, image);
      assert.deepEqual(choice.args, args);
    });

  it('without any GPU a generating model runs on vLLM for CPUs', () => {
    const choice = chosen(transformers(models.QWEN25_05B));
    assert.equal(place(choice), 'docker cpu x4');
    assert.deepEqual(choice.image, { vLLM: { url: IMAGES.vLLM.cpuImage } });
    assert.match(choice.fit?.message ?? '', /2\.00 GiB cache/);
  });

  it('only hardware that a host here can hold', () => {
    const host = { vendor: 'docker', region: 'local', cpus: 2, memoryBytes: 7.5 * 1024 ** 3, gpus: 0 };
    assert.match(
      refused(transformers(models.QWEN25_7B), { capacities: [host] }).text,
      /gcp us-central1 .*for planning only/,
    );
    assert.equal(place(chosen(small, { capacities: [host] })), 'docker cpu x1');
  });

  it('no context is chosen that was not there to choose: half the spread and an odd one are left to the refusal', () => {
    const { text, memory } = refused(transformers(models.LLAMA31_8B), {
      image: { vLLM: { tensorParallelSize: 3 } },
      hardware: { ...L4, instanceSize: 'x4' },
    });
    assert.equal(memory, false);
    assert.match(
      text,
      /model\.image\.vLLM\.tensorParallelSize: tensorParallelSize 3 does not match nvidia-l4 x4/,
    );
  });

  const no: [string, Model, Want, boolean, RegExp][] = [
    [
      'a model that is too big, with the arithmetic and what would do',
      transformers(models.LLAMA31_70B),
      { hardware: { ...L4, instanceSize: 'x1' }, image: { vLLM: {} } },
      true,
      /compute\.instanceSize: 'acme\/model' does not fit on nvidia-l4 x1: 131\.41 GiB weights .* of 20\.70 GiB usable in one GPU of nvidia-l4 x1; the smallest that would do is nvidia-l4 x8 of gcp us-central1 \(\$8\.0031 an hour; for planning only here\)/,
    ],
    [
      'a context that is too long for the memory, with the longest',
      transformers(models.LLAMA31_8B),
      { hardware: { ...L4, instanceSize: 'x1' }, args: ['--max-model-len', '100000'] },
      true,
      /does not fit .* a context of at most 3\d{4} tokens would fit \(model\.args\); the smallest that would do is nvidia-l4 x2/,
    ],
    [
      "a context beyond the model's",
      transformers(models.QWEN25_7B),
      { hardware: { ...L4, instanceSize: 'x1' }, args: ['--max-model-len', '65536'] },
      false,
      /model\.args: a context of 65536 tokens is longer than the 32768 the model was made for/,
    ],
    [
      "a context beyond the model's, of llama.cpp",
      small,
      { image: { llamacpp: { ctxSize: 40_000, nParallel: 2 } } },
      false,
      /model\.image\.llamacpp\.ctxSize: a context of 20000 tokens is longer than the 8192/,
    ],
    [
      'heads that GPUs cannot share',
      transformers(models.QWEN25_05B),
      { image: { vLLM: { tensorParallelSize: 4 } }, hardware: { ...L4, instanceSize: 'x4' } },
      false,
      /tensorParallelSize: 14 attention heads cannot be split over 4 GPUs/,
    ],
    [
      'TEI on a generating model',
      transformers(models.QWEN25_7B),
      { image: { tei: {} } },
      false,
      /model\.task: TEI embeds, ranks and classifies text and the task is text-generation/,
    ],
    [
      'llama.cpp without a GGUF file',
      transformers(models.QWEN25_7B),
      { image: { llamacpp: {} } },
      false,
      /model\.repository: 'acme\/model' has no GGUF file at all/,
    ],
    [
      'a model for which nothing is large enough',
      transformers({ ...models.LLAMA31_405B, billions: 1500 }),
      { image: { tgi: {} }, rented: true },
      true,
      /nothing in the catalogue would do: choose a smaller model/,
    ],
  ];
  for (const [what, model, want, memory, text] of no)
    it(`refuses ${what}`, () => {
      const refusal = refused(model, want);
      assert.match(refusal.text, text);
      assert.equal(refusal.memory, memory);
    });

  it('refuses nothing by arithmetic where its owner knows better', () => {
    const want = { hardware: { ...L4, instanceSize: 'x1' }, image: { vLLM: {} }, ignoreFit: true };
    const choice = chosen(transformers(models.LLAMA31_70B), want);
    assert.equal(choice.fit?.ok, false);
  });

  it('takes a rule of thumb to choose by, and refuses hardware that is given only when the weights alone are too big', () => {
    const unknown = ggufs({ 'm-Q4_K_M.gguf': 1.7e9 }, { 'general.architecture': 'new' });
    const x1 = {
      vendor: 'docker',
      region: 'local',
      accelerator: 'cpu',
      instanceType: 'cpu',
      instanceSize: 'x1',
    };
    assert.equal(place(chosen(unknown)), 'docker cpu x2');
    assert.equal(place(chosen(unknown, { hardware: x1 })), 'docker cpu x1');
    const big = ggufs({ 'm-Q4_K_M.gguf': 2.7e9 }, { 'general.architecture': 'new' });
    assert.match(refused(big, { hardware: x1 }).text, /does not fit on cpu x1/);
  });

  it('does not size what it cannot follow', () => {
    const choice = chosen(transformers(models.LLAMA31_70B), {
      hardware: { ...L4, instanceSize: 'x1' },
      image: { vLLM: {} },
      args: ['--cpu-offload-gb', '200'],
    });
    assert.equal(choice.fit, null);
  });
});

describe('choosing hardware, always', () => {
  const all = offersOf(VENDORS, []).map((offer): Offer => ({ ...offer, missing: null }));
  const input = (model: Model, open: typeof all): ChooseInput => ({
    image: null,
    model: { task: 'text-generation', command: [], args: [], env: {} },
    ...model,
    open,
    all,
    images: IMAGES,
    ignoreFit: false,
  });

  it('what is chosen fits, and nothing cheaper does', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.values(models)),
        fc.constantFrom('BF16', 'F32', 'F8_E4M3'),
        fc.constantFrom('vLLM', 'sGLang', 'tgi', 'huggingface'),
        fc.shuffledSubarray(all, { minLength: 2 }),
        (fixture, dtype, variant, some) => {
          const open = all.filter((offer) => some.includes(offer));
          const asked = input(transformers(fixture, { dtype }), open);
          const engine = { variant, reason: 'asked' } as const;
          const able = candidates(asked, variant);
          const { choice } = onOffers(asked, engine, able);
          if (!choice) return;
          assert.ok(choice.fit?.ok, choice.fit?.message);
          const cheaper = able.filter(
            ({ instance }) => instance.pricePerHour < choice.offer.instance.pricePerHour,
          );
          assert.equal(onOffers(asked, engine, cheaper).choice, null);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('8-bit floats and new kernels are not given to GPUs that cannot compute them', () => {
    const fp8 = candidates(input(transformers(models.LLAMA31_8B, { dtype: 'F8_E4M3' }), all), 'vLLM');
    assert.ok(fp8.every(({ instance }) => !/t4|p4|p100|v100|a100/.test(instance.type)));
    const tgi = candidates(input(transformers(models.LLAMA31_8B), all), 'tgi');
    assert.ok(tgi.length > 10 && tgi.every(({ instance }) => !/t4|p4|p100|v100/.test(instance.type)));
    const tei = candidates(input(transformers(models.MINILM), all), 'tei');
    assert.ok(
      tei.some(({ instance }) => instance.gpus === 0) && tei.every(({ instance }) => instance.gpus < 2),
    );
  });

  it('leaves out what is not offered', () => {
    const gone = offersOf(VENDORS, []).filter(({ instance }) => instance.type === 'nvidia-gb200');
    assert.match(gone[0]?.missing ?? '', /planning only|not available/);
    assert.deepEqual(candidates(input(transformers(models.LLAMA31_8B), [...gone, ...gone]), 'vLLM'), []);
  });
});

describe('hardware a request leaves open', () => {
  const all = offersOf(VENDORS, []);

  it('is all of it, cheapest first', () => {
    const open = openOffers(all, VENDORS, {});
    assert.ok(open.ok && open.offers.length > 45);
    const prices = open.offers.map(({ instance }) => instance.pricePerHour);
    assert.deepEqual(
      prices,
      prices.toSorted((a, b) => a - b),
    );
  });

  for (const [want, message] of [
    [{ vendor: 'aws' }, "provider.vendor: unknown vendor 'aws': choose one of docker, gcp"],
    [{ region: 'mars' }, "provider.region: unknown region 'mars': choose one of local, us-central1"],
    [
      { vendor: 'docker', accelerator: 'gpu' },
      "compute.accelerator: unknown accelerator 'gpu': choose one of cpu",
    ],
    [
      { vendor: 'docker', instanceSize: 'x3' },
      "compute.instanceSize: unknown instanceSize 'x3': choose one of x1, x2, x4, x8",
    ],
  ] as [HardwareRequest, string][])
    it(`refuses ${JSON.stringify(want)}`, () => {
      const open = openOffers(all, VENDORS, want);
      assert.equal(!open.ok && `${open.field}: ${open.message}`, message);
    });
});
