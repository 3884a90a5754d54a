import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const SPECIAL = ['<|begin|>', '<|end|>', '<|turn|>'];
const [BEGIN, END] = [0, 1];
/** Every byte and the special tokens. */
const VOCABULARY = SPECIAL.length + 256;
const LAYERS = 2;
const HEADS = 4;
const CONTEXT = 1024;

const CHAT_TEMPLATE =
  "{% for message in messages %}<|turn|>{{ message['role'] }}: {{ message['content'] }}<|end|>{% endfor %}" +
  '{% if add_generation_prompt %}<|turn|>assistant: {% endif %}';

/**
 * Lays out a Llama of random weights in `dir` as a repository of the Hub: architecture, safetensors, byte-level
 * tokenizer, chat template, all of a real model's form and under 3 MB. What it writes makes no sense. `headSize` is the
 * number that engines' attention kernels are picky about.
 */
export function writeTinyModel(dir: string, { headSize = 64 }: { headSize?: number } = {}): void {
  const hidden = headSize * HEADS;
  const inner = hidden * 2;
  mkdirSync(dir, { recursive: true });
  const json = (name: string, content: object) => writeFileSync(join(dir, name), JSON.stringify(content));
  json('config.json', {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    bos_token_id: BEGIN,
    eos_token_id: END,
    hidden_act: 'silu',
    hidden_size: hidden,
    intermediate_size: inner,
    max_position_embeddings: CONTEXT,
    num_attention_heads: HEADS,
    num_hidden_layers: LAYERS,
    num_key_value_heads: HEADS,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: false,
    torch_dtype: 'bfloat16',
    vocab_size: VOCABULARY,
  });
  json('generation_config.json', { bos_token_id: BEGIN, eos_token_id: END });
  json('tokenizer_config.json', {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: SPECIAL[BEGIN],
    eos_token: SPECIAL[END],
    model_max_length: CONTEXT,
    chat_template: CHAT_TEMPLATE,
  });
  json('tokenizer.json', tokenizer());
  writeFileSync(join(dir, 'model.safetensors'), safetensors(shapes(hidden, inner)));
}

function shapes(hidden: number, inner: number): [name: string, shape: number[]][] {
  const layer = (index: number): [string, number[]][] => {
    const prefix = `model.layers.${index}`;
    return [
      ...['q', 'k', 'v', 'o'].map((part): [string, number[]] => [
        `${prefix}.self_attn.${part}_proj.weight`,
        [hidden, hidden],
      ]),
      [`${prefix}.mlp.gate_proj.weight`, [inner, hidden]],
      [`${prefix}.mlp.up_proj.weight`, [inner, hidden]],
      [`${prefix}.mlp.down_proj.weight`, [hidden, inner]],
      [`${prefix}.input_layernorm.weight`, [hidden]],
      [`${prefix}.post_attention_layernorm.weight`, [hidden]],
    ];
  };
  return [
    ['model.embed_tokens.weight', [VOCABULARY, hidden]],
    ...Array.from({ length: LAYERS }, (_, index) => layer(index)).flat(),
    ['model.norm.weight', [hidden]],
    ['lm_head.weight', [VOCABULARY, hidden]],
  ];
}

/** 8 bytes of header length, the header as JSON, the tensors one after the other; bfloat16, the same every time. */
function safetensors(tensors: readonly [name: string, shape: number[]][]): Buffer {
  const header: Record<string, object> = {};
  const parts: Buffer[] = [];
  const random = generator(20_250);
  let offset = 0;
  for (const [name, shape] of tensors) {
    const count = shape.reduce((product, n) => product * n, 1);
    const values = new Float32Array(count);
    // Norms scale by one; everything else is small noise around nothing.
    for (let i = 0; i < count; i += 1) values[i] = name.includes('norm') ? 1 : (random() - 0.5) * 0.1;
    const bytes = Buffer.alloc(count * 2);
    const halves = new Uint16Array(values.buffer);
    for (let i = 0; i < count; i += 1) bytes.writeUInt16LE(halves[2 * i + 1] ?? 0, 2 * i);
    header[name] = { dtype: 'BF16', shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
    parts.push(bytes);
  }
  const head = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(head.length));
  return Buffer.concat([length, head, ...parts]);
}

/** Numbers from 0 to 1 that look random (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Byte-level BPE without a single merge: one token a byte. */
function tokenizer(): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries([
        ...SPECIAL.map((token, id) => [token, id]),
        ...byteCharacters().map((character, byte) => [character, SPECIAL.length + byte]),
      ]),
      merges: [],
    },
  };
}

/** The printable character that stands for each byte in byte-level tokenizers, as GPT-2 laid down. */
function byteCharacters(): string[] {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}
