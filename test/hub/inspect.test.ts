import assert from 'node:assert/strict';
import { createHub, type InspectRequest } from '../../hub/client.ts';
import { EndpointsError, type ErrorCode } from '../../spec/errors.ts';
import type { ModelFacts } from '../../spec/model-facts.ts';
import { type Contents, onFiles, type TestHub, testHub } from './fixture.ts';
import { gguf, safetensors, withLength } from './headers.ts';

const POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 5000000000\n`;
const CONFIG = { model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_size: 4096 };
const LLAMA = {
  'general.architecture': 'llama',
  'general.name': 'Tiny',
  'llama.block_count': 32,
  'llama.context_length': 131_072n,
  'llama.attention.head_count_kv': [8, 8, 0, 8],
};
const WORDS = Array.from({ length: 50_000 }, (_, i) => `token-${i}`);

/** Parts of a model of 96 billion parameters, without one of them. */
const parts = (count: number): Contents =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) => [
      `model-${String(i + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.safetensors`,
      safetensors({ w: ['BF16', 2_000_000_000], b: ['F32', 100] }),
    ]),
  );

describe('inspecting a model on the Hub', function () {
  this.timeout(30_000);
  let hub: TestHub;

  before(async () => {
    hub = await testHub({
      'acme/whole': {
        files: {
          'config.json': JSON.stringify(CONFIG),
          'tokenizer_config.json': '{"tokenizer_class":"LlamaTokenizerFast","chat_template":"{{x}}"}',
          'model.safetensors': safetensors({
            'a.weight': ['BF16', 4096, 4096],
            'a.norm': ['F32', 4096],
            'a.qweight': ['I32', 512, 64],
            scalar: ['F32'],
          }),
        },
        settings: { pipeline_tag: 'text-generation', library_name: 'transformers', license: 'mit' },
      },
      'acme/parts': { files: { 'config.json': '{}', 'chat_template.jinja': 'x', ...parts(3) } },
      'acme/many': { files: parts(48) },
      'acme/long': {
        files: {
          'model.safetensors': safetensors(
            Object.fromEntries(
              Array.from({ length: 5000 }, (_, i) => [`model.layers.${i}.weight`, ['F16', 10]]),
            ),
          ),
        },
      },
      'acme/gguf': {
        files: {
          'tiny.gguf': gguf({
            ...LLAMA,
            'tokenizer.ggml.model': 'gpt2',
            'tokenizer.ggml.tokens': WORDS,
            'tokenizer.chat_template': 'x'.repeat(9000),
          }),
          'plain.gguf': gguf(LLAMA),
        },
      },
      'acme/broken': {
        files: {
          'pointer.safetensors': POINTER,
          'pointer.gguf': POINTER,
          'empty.safetensors': '',
          'words.safetensors': 'these are only words, and more of them',
          'cut.safetensors': withLength('{"a":{"dtype":"F16","shape":[2]}}').subarray(0, 20),
          'text.safetensors': withLength('{"a":'),
          'shapeless.safetensors': withLength('{"a":{"dtype":"F16"}}'),
          'negative.safetensors': withLength('{"a":{"dtype":"F16","shape":[-2]}}'),
          'words.gguf': 'these are only words',
          'old.gguf': gguf(LLAMA, 1),
          'cut.gguf': gguf(LLAMA).subarray(0, 60),
          'type.gguf': Buffer.concat([
            gguf({ a: 1 }).subarray(0, 24),
            Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 97, 77, 0, 0, 0]),
          ]),
        },
      },
      'acme/list': { files: { 'config.json': '[1]' } },
      'acme/lfs': { files: { 'config.json': POINTER } },
      'acme/huge': { files: { 'config.json': `{"a":"${'x'.repeat(4 << 20)}"}` } },
    });
  });
  after(() => hub.close());
  afterEach(() => {
    hub.fault = null;
  });

  async function inspect(
    repository: string,
    weights: InspectRequest['weights'] | 'all',
  ): Promise<ModelFacts> {
    const client = createHub({ endpoint: hub.url, timeoutMs: 3000, retries: 0 });
    const resolved = await client.resolveModel({ repository, revision: null });
    hub.served.length = 0;
    const all = resolved.files.map(({ path }) => path).filter((path) => path.endsWith('.safetensors'));
    return client.inspectModel({
      repository,
      resolved,
      weights: weights === 'all' ? { safetensors: all } : weights,
    });
  }

  async function refused(code: ErrorCode, asking: Promise<unknown>): Promise<string> {
    const error = await asking.then(
      () => assert.fail('was not refused'),
      (e: unknown) => e,
    );
    assert.ok(error instanceof EndpointsError, String(error));
    assert.equal(error.code, code, error.message);
    return error.message;
  }

  it('tells configuration, tokenizer, task, library, licence, and numbers per dtype', async () => {
    const facts = await inspect('acme/whole', 'all');
    assert.deepEqual(
      { ...facts, commit: '' },
      {
        repository: 'acme/whole',
        commit: '',
        pipelineTag: 'text-generation',
        library: 'transformers',
        licence: 'mit',
        gated: false,
        private: false,
        config: CONFIG,
        tokenizer: { kind: 'LlamaTokenizerFast', chatTemplate: true },
        weights: {
          format: 'safetensors',
          parameters: { BF16: 4096 * 4096, F32: 4097, I32: 512 * 64 },
          estimated: false,
        },
      },
    );
  });

  it('adds up the parts of a model', async () => {
    const { weights, tokenizer } = await inspect('acme/parts', 'all');
    assert.deepEqual(weights, {
      format: 'safetensors',
      parameters: { BF16: 6e9, F32: 300 },
      estimated: false,
    });
    assert.deepEqual(tokenizer, { kind: null, chatTemplate: true });
  });

  it('judges a model of many parts by some of them', async () => {
    const { weights } = await inspect('acme/many', 'all');
    assert.deepEqual(weights, {
      format: 'safetensors',
      parameters: { BF16: 96e9, F32: 4800 },
      estimated: true,
    });
    assert.equal(hub.served.length, 12);
  });

  it('reads a header longer than the first request', async () => {
    const { weights } = await inspect('acme/long', 'all');
    assert.deepEqual(weights?.format === 'safetensors' && weights.parameters, { F16: 50_000 });
    assert.equal(hub.served.length, 2);
  });

  it('asks nothing twice of the same commit', async () => {
    const client = createHub({ endpoint: hub.url });
    const resolved = await client.resolveModel({ repository: 'acme/gguf', revision: null });
    hub.served.length = 0;
    const request = { repository: 'acme/gguf', resolved, weights: { gguf: 'plain.gguf' } };
    await client.inspectModel(request);
    const once = hub.served.length;
    assert.ok(once > 0);
    await client.inspectModel(request);
    assert.equal(hub.served.length, once);
  });

  it('tells a GGUF file by its header: scalars, short lists, the size of the vocabulary, the chat template', async () => {
    const { weights, tokenizer } = await inspect('acme/gguf', { gguf: 'tiny.gguf' });
    assert.ok(weights?.format === 'gguf');
    assert.equal(weights.path, 'tiny.gguf');
    assert.equal(weights.metadata['llama.block_count'], 32);
    assert.equal(weights.metadata['llama.context_length'], 131_072);
    assert.deepEqual(weights.metadata['llama.attention.head_count_kv'], [8, 8, 0, 8]);
    assert.equal(weights.metadata['tokenizer.ggml.tokens.length'], 50_000);
    assert.equal('tokenizer.ggml.tokens' in weights.metadata, false);
    assert.deepEqual(tokenizer, { kind: 'gpt2', chatTemplate: true });
    const plain = await inspect('acme/gguf', { gguf: 'plain.gguf' });
    assert.equal(plain.tokenizer.chatTemplate, false);
  });

  it('goes on with the size of the model when the rest of a GGUF header does not come', async () => {
    hub.fault = onFiles((_request, count) => (count > 1 ? { kind: 'status', status: 503 } : undefined));
    const { weights, tokenizer } = await inspect('acme/gguf', { gguf: 'tiny.gguf' });
    assert.equal(weights?.format === 'gguf' && weights.metadata['llama.block_count'], 32);
    assert.equal(tokenizer.chatTemplate, null);
  });

  it('reads the wanted bytes and no more from a server that ignores ranges', async () => {
    hub.fault = onFiles(() => ({ kind: 'ignoreRange' }));
    const long = await inspect('acme/long', 'all');
    assert.deepEqual(long.weights?.format === 'safetensors' && long.weights.parameters, { F16: 50_000 });
    const { weights } = await inspect('acme/gguf', { gguf: 'tiny.gguf' });
    assert.equal(weights?.format, 'gguf');
  });

  it('a repository without those files has nulls', async () => {
    const facts = await inspect('acme/broken', null);
    assert.deepEqual(
      [facts.config, facts.weights, facts.pipelineTag, facts.licence],
      [null, null, null, null],
    );
    assert.deepEqual(facts.tokenizer, { kind: null, chatTemplate: false });
  });

  const broken: [path: string, why: RegExp][] = [
    [
      'pointer.safetensors',
      /'pointer\.safetensors' of 'acme\/broken' is a Git LFS pointer and not the file itself/,
    ],
    ['empty.safetensors', /has 0 bytes and is no safetensors file/],
    ['words.safetensors', /is no safetensors file: its header would be \d+ bytes long/],
    ['cut.safetensors', /ends within its header, after 20 bytes/],
    ['text.safetensors', /has a header that is not JSON/],
    ['shapeless.safetensors', /tensor 'a' without dtype and shape/],
    ['negative.safetensors', /tensor 'a' without dtype and shape/],
    ['pointer.gguf', /is a Git LFS pointer/],
    ['words.gguf', /is no GGUF file: it does not begin with GGUF/],
    ['old.gguf', /is of GGUF version 1/],
    ['cut.gguf', /ends within its header/],
    ['type.gguf', /damaged header: it holds a value of type 77/],
  ];
  for (const [path, why] of broken)
    it(`says what is wrong with ${path}`, async () => {
      const weights = path.endsWith('.gguf') ? { gguf: path } : { safetensors: [path] };
      assert.match(await refused('NO_USABLE_FILE', inspect('acme/broken', weights)), why);
    });

  it('says what is wrong with a configuration', async () => {
    assert.match(
      await refused('NO_USABLE_FILE', inspect('acme/list', null)),
      /'config\.json' .* is not a JSON object/,
    );
    assert.match(await refused('NO_USABLE_FILE', inspect('acme/lfs', null)), /is a Git LFS pointer/);
    assert.match(await refused('NO_USABLE_FILE', inspect('acme/huge', null)), /is larger than 4 MiB/);
  });

  it('a Hub that fails on the way is not taken for a damaged file', async () => {
    hub.fault = onFiles(() => ({ kind: 'status', status: 502 }));
    assert.match(await refused('HUB_UNREACHABLE', inspect('acme/whole', 'all')), /answered 502/);
    hub.fault = onFiles(() => ({ kind: 'cut', afterBytes: 10 }));
    await refused('HUB_UNREACHABLE', inspect('acme/whole', 'all'));
  });
});
