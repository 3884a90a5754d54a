import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { FileSelection } from '../../engines/engine.ts';
import { huggingface } from '../../engines/huggingface.ts';
import { sglang } from '../../engines/sglang.ts';
import { tei } from '../../engines/tei.ts';
import { tgi } from '../../engines/tgi.ts';
import { vllm } from '../../engines/vllm.ts';

const file = (path: string) => ({ path, sizeBytes: 1, sha256: null, gitSha1: null });
const url = { url: 'x' };

function paths(selection: FileSelection): string[] {
  assert.ok(selection.ok, JSON.stringify(selection));
  return selection.files.map(({ path }) => path);
}

function refusal(selection: FileSelection): string {
  assert.ok(!selection.ok, 'selected');
  assert.equal(selection.code, 'NO_USABLE_FILE');
  return selection.message;
}

const ofVllm = (all: string[], args: string[] = []) =>
  vllm.selectFiles(all.map(file), url, { args, env: {} });

const TOKENIZER = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json'];
const SHARDS = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const INDEX = 'model.safetensors.index.json';

describe('files of a Transformers repository', () => {
  it('are one copy of the weights, and what is read beside them', () => {
    const wanted = [
      ...TOKENIZER,
      'model.safetensors',
      'merges.txt',
      'vocab.json',
      'chat_template.jinja',
      'tokenizer.model',
    ];
    const duplicates = [
      'pytorch_model.bin',
      'tf_model.h5',
      'flax_model.msgpack',
      'rust_model.ot',
      'model.onnx',
      'm.gguf',
      'consolidated.00.pth',
      'consolidated.safetensors',
      'training_args.bin',
    ];
    const rest = [
      'README.md',
      'LICENSE.txt',
      '.gitattributes',
      'modeling_x.py',
      'onnx/model.onnx',
      'onnx/config.json',
      'original/params.json',
      'original/model.safetensors',
      'figures/a.png',
      'pytorch_model.bin.index.json',
    ];
    assert.deepEqual(paths(ofVllm([...wanted, ...duplicates, ...rest])), wanted);
  });

  it('are all parts of weights in parts, with their index', () => {
    assert.deepEqual(paths(ofVllm([...TOKENIZER, INDEX, ...SHARDS])), [...TOKENIZER, INDEX, ...SHARDS]);
  });

  it('are the parts when an index says so, and the whole file when none does', () => {
    assert.deepEqual(paths(ofVllm(['config.json', 'model.safetensors', INDEX, ...SHARDS])), [
      'config.json',
      INDEX,
      ...SHARDS,
    ]);
    assert.deepEqual(paths(ofVllm(['config.json', 'model.safetensors', ...SHARDS])), [
      'config.json',
      'model.safetensors',
    ]);
  });

  it('leave out other precisions of the same weights', () => {
    assert.deepEqual(paths(ofVllm(['config.json', 'model.safetensors', 'model.fp16.safetensors'])), [
      'config.json',
      'model.safetensors',
    ]);
  });

  it('are of any name, as quantisers choose them', () => {
    assert.deepEqual(
      paths(ofVllm(['config.json', 'gptq_model-4bit-128g.safetensors', 'quantize_config.json'])),
      ['config.json', 'gptq_model-4bit-128g.safetensors', 'quantize_config.json'],
    );
  });

  it("are Mistral's own layout when there is no other", () => {
    assert.deepEqual(paths(ofVllm(['params.json', 'consolidated.safetensors', 'tekken.json'])), [
      'params.json',
      'consolidated.safetensors',
      'tekken.json',
    ]);
  });

  it('hold code only when it may run', () => {
    const all = ['config.json', 'model.safetensors', 'modeling_x.py'];
    assert.deepEqual(paths(ofVllm(all)), ['config.json', 'model.safetensors']);
    for (const args of [['--trust-remote-code'], ['--trust_remote_code']])
      assert.deepEqual(paths(ofVllm(all, args)), all);
    assert.deepEqual(paths(ofVllm(all, ['--trust-remote-code=false'])), ['config.json', 'model.safetensors']);
    assert.deepEqual(
      paths(tgi.selectFiles(all.map(file), url, { args: [], env: { TRUST_REMOTE_CODE: 'true' } })),
      all,
    );
  });

  it("are PyTorch's own weights where there are no others", () => {
    const all = ['config.json', 'pytorch_model.bin', 'tf_model.h5'];
    assert.deepEqual(paths(ofVllm(all)), ['config.json', 'pytorch_model.bin']);
    assert.deepEqual(paths(sglang.selectFiles(all.map(file), url)), ['config.json', 'pytorch_model.bin']);
    assert.match(
      refusal(tgi.selectFiles(all.map(file), url)),
      /TGI needs weights as safetensors .* only pytorch_model\.bin, tf_model\.h5/,
    );
  });

  it('are the modules of sentence-transformers too', () => {
    const wanted = [
      '1_Pooling/config.json',
      '2_Dense/config.json',
      '2_Dense/model.safetensors',
      'config.json',
      'model.safetensors',
      'modules.json',
      'sentence_bert_config.json',
      'tokenizer.json',
      'vocab.txt',
    ];
    assert.deepEqual(
      paths(
        tei.selectFiles(
          [...wanted, 'onnx/model.onnx', 'openvino/openvino_model.xml', 'train_script.py'].map(file),
          url,
        ),
      ),
      wanted,
    );
  });

  const refused: [string, string[], RegExp][] = [
    [
      'a GGUF repository',
      ['README.md', 'config.json', 'm-Q4.gguf', 'm-Q8.gguf'],
      /m-Q4\.gguf, m-Q8\.gguf.*vLLM does not read: use model\.image\.llamacpp/,
    ],
    ['a repository without weights', ['README.md', 'config.json'], /which has no weights/],
    ['a repository of another framework', ['config.json', 'tf_model.h5'], /only tf_model\.h5/],
    ['a repository without config', ['model.safetensors'], /no config\.json/],
    ['an adapter', ['adapter_config.json', 'adapter_model.safetensors'], /LoRA adapter.*base model/],
    [
      'an upload that is not complete',
      ['config.json', INDEX, 'model-00001-of-00003.safetensors', 'model-00003-of-00003.safetensors'],
      /lacks a part .*model-00002-of-00003\.safetensors/,
    ],
  ];
  for (const [name, all, message] of refused)
    it(`refuse ${name}`, () => assert.match(refusal(ofVllm(all)), message));

  it('never hold two copies of the weights, whatever the repository holds', () => {
    const name = fc.constantFrom(
      ...TOKENIZER,
      ...SHARDS,
      INDEX,
      'model.safetensors',
      'consolidated.safetensors',
      'pytorch_model.bin',
      'm.gguf',
      'tf_model.h5',
      'x.py',
      'onnx/model.onnx',
      '1_Pooling/config.json',
      'README.md',
    );
    fc.assert(
      fc.property(fc.uniqueArray(name), fc.boolean(), (all, code) => {
        const selection = ofVllm(all, code ? ['--trust-remote-code'] : []);
        if (!selection.ok) return assert.ok(selection.message.length > 20);
        const chosen = selection.files.map(({ path }) => path);
        assert.deepEqual(
          chosen,
          all.filter((path) => chosen.includes(path)),
        );
        const weights = chosen.filter((path) => /\.(safetensors|bin|gguf|h5|onnx)$/.test(path));
        const kinds = new Set(weights.map((path) => path.replace(/-\d{5}-of-\d{5}/, '-parts')));
        assert.equal(kinds.size, 1, weights.join());
        assert.ok(weights.length === 1 || weights.length === SHARDS.length);
        assert.equal(chosen.includes('x.py'), code && all.includes('x.py'));
      }),
    );
  });
});

describe('files for the Inference Toolkit', () => {
  const of = (all: string[]) => huggingface.selectFiles(all.map(file), {});

  it('are everything but further copies of the weights', () => {
    assert.deepEqual(
      paths(
        of([
          'config.json',
          'model.safetensors',
          'pytorch_model.bin',
          'tf_model.h5',
          'unet/model.safetensors',
          'vae/model.bin',
          'requirements.txt',
          'optimizer.pt',
        ]),
      ),
      ['config.json', 'model.safetensors', 'unet/model.safetensors', 'vae/model.bin', 'requirements.txt'],
    );
  });

  it('are all of them beside a handler', () => {
    const all = ['handler.py', 'model.onnx', 'pytorch_model.bin', 'model.safetensors'];
    assert.deepEqual(paths(of(all)), all);
  });

  it('refuse a repository it can load nothing of', () => {
    assert.match(refusal(of(['config.json', 'm.gguf'])), /neither PyTorch weights .* nor a handler\.py/);
  });
});
