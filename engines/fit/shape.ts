/** What the size of a model's key-value cache and activations depends on. */
export interface ModelShape {
  /** Layers whose cache grows with every token. */
  fullLayers: number;
  /** Layers that look back at most `window` tokens, and cache no more. */
  sliding: { layers: number; window: number } | null;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Numbers cached per token and layer by latent attention (MLA), instead of keys and values per head. */
  latentSize: number | null;
  hiddenSize: number;
  intermediateSize: number;
  vocabSize: number;
  /** Longest context the model was made for; null when it does not say. */
  maxContext: number | null;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Reads the shape from a model's `config.json`; null when it is not the config of a transformer. Multimodal models have
 * it in a part of their config.
 */
export function shapeOfConfig(config: unknown): ModelShape | null {
  const root = objectOf(config);
  const text = root && textPart(root);
  if (!text) return null;
  const layers = count(text, 'num_hidden_layers', 'n_layer', 'n_layers', 'num_layers');
  const heads = count(text, 'num_attention_heads', 'n_head', 'n_heads');
  const hiddenSize = count(text, 'hidden_size', 'n_embd', 'd_model');
  if (layers === null || heads === null || hiddenSize === null) return null;
  const latentRank = count(text, 'kv_lora_rank');
  return {
    ...layerKinds(text, layers),
    heads,
    kvHeads: count(text, 'num_key_value_heads', 'num_kv_heads', 'n_head_kv') ?? heads,
    headDim: count(text, 'head_dim') ?? hiddenSize / heads,
    latentSize: latentRank === null ? null : latentRank + (count(text, 'qk_rope_head_dim') ?? 0),
    hiddenSize,
    intermediateSize: count(text, 'intermediate_size', 'n_inner', 'ffn_dim') ?? 4 * hiddenSize,
    vocabSize: count(text, 'vocab_size') ?? 0,
    maxContext: contextOf(text),
  };
}

/**
 * The longest context, stretched where the configuration says so. Kinds that are not named here have the stretched length
 * in `max_position_embeddings` already.
 */
function contextOf(text: Json): number | null {
  const own = count(text, 'max_position_embeddings', 'n_positions', 'max_sequence_length');
  const scaling = objectOf(text.rope_scaling) ?? objectOf(text.rope_parameters);
  const factor = scaling && count(scaling, 'factor');
  if (own === null || !scaling || factor === null) return own;
  const kind = scaling.rope_type ?? scaling.type;
  if (kind === 'yarn')
    return Math.max(own, (count(scaling, 'original_max_position_embeddings') ?? own) * factor);
  return kind === 'linear' || kind === 'dynamic' ? own * factor : own;
}

/** Reads the shape from the metadata of a GGUF file; null when it lacks the model's size. */
export function shapeOfGguf(metadata: Json): ModelShape | null {
  const architecture = metadata['general.architecture'];
  if (typeof architecture !== 'string') return null;
  const of = (name: string) => count(metadata, `${architecture}.${name}`);
  const layers = of('block_count');
  const hiddenSize = of('embedding_length');
  const heads = of('attention.head_count');
  if (layers === null || hiddenSize === null || heads === null) return null;
  const perLayer = metadata[`${architecture}.attention.head_count_kv`];
  const latentRank = of('attention.kv_lora_rank');
  return {
    ...ggufLayers(architecture, perLayer, of('attention.sliding_window'), layers),
    heads,
    kvHeads: meanOf(perLayer) ?? of('attention.head_count_kv') ?? heads,
    headDim: of('attention.key_length') ?? hiddenSize / heads,
    latentSize: latentRank === null ? null : latentRank + (of('rope.dimension_count') ?? 0),
    hiddenSize,
    intermediateSize: of('feed_forward_length') ?? 4 * hiddenSize,
    vocabSize: of('vocab_size') ?? count(metadata, 'tokenizer.ggml.tokens.length') ?? 0,
    maxContext: of('context_length'),
  };
}

/** One layer of so many looks back without bound, by llama.cpp's own table of architectures. */
const GGUF_PATTERN: Readonly<Record<string, number>> = { gemma2: 2, gemma3: 6, cohere2: 4, 'gpt-oss': 2 };

/** Layers without attention have no key-value heads, where a file tells them per layer. */
function ggufLayers(
  architecture: string,
  perLayer: unknown,
  window: number | null,
  layers: number,
): Pick<ModelShape, 'fullLayers' | 'sliding'> {
  const attending = Array.isArray(perLayer) ? perLayer.filter((heads) => Number(heads) > 0).length : layers;
  const pattern = GGUF_PATTERN[architecture];
  if (window === null || pattern === undefined) return { fullLayers: attending, sliding: null };
  const fullLayers = Math.floor(attending / pattern);
  return { fullLayers, sliding: { layers: attending - fullLayers, window } };
}

/** Of the layers that have any. */
function meanOf(perLayer: unknown): number | null {
  if (!Array.isArray(perLayer)) return null;
  const numbers = perLayer.map(Number).filter((heads) => heads > 0);
  return numbers.length ? numbers.reduce((sum, heads) => sum + heads, 0) / numbers.length : null;
}

function layerKinds(text: Json, layers: number): Pick<ModelShape, 'fullLayers' | 'sliding'> {
  const window = text.use_sliding_window === false ? null : count(text, 'sliding_window');
  const types = text.layer_types ?? text.layers_block_type;
  if (Array.isArray(types)) {
    // What is neither (linear attention, Mamba) keeps a state of constant size.
    const slidingLayers = types.filter((type) => /sliding|chunked/.test(String(type))).length;
    const fullLayers = types.filter((type) => /^(full_)?attention$/.test(String(type))).length;
    return slidingLayers && window
      ? { fullLayers, sliding: { layers: slidingLayers, window } }
      : { fullLayers: fullLayers + slidingLayers, sliding: null };
  }
  // One layer of this many attends, the others keep a state.
  const interval = count(text, 'full_attention_interval', 'attn_layer_period');
  if (interval) return { fullLayers: Math.floor(layers / interval), sliding: null };
  if (window === null) return { fullLayers: layers, sliding: null };
  const fullLayers = fullAmongSliding(text, layers);
  return { fullLayers, sliding: { layers: layers - fullLayers, window } };
}

function fullAmongSliding(text: Json, layers: number): number {
  const pattern =
    count(text, 'sliding_window_pattern', '_sliding_window_pattern') ??
    (text.model_type === 'gemma2' ? 2 : null);
  if (pattern) return Math.floor(layers / pattern);
  // Qwen: the first layers look back without bound.
  const first = text.use_sliding_window === true ? count(text, 'max_window_layers') : null;
  return Math.min(layers, first ?? 0);
}

function textPart(root: Json): Json {
  const thinker = objectOf(root.thinker_config);
  return (
    objectOf(root.text_config) ??
    objectOf(root.llm_config) ??
    objectOf(root.language_config) ??
    objectOf(thinker?.text_config) ??
    root
  );
}

function objectOf(value: unknown): Json | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : null;
}

/** The first of these that is a positive number; GGUF readers give large ones as bigint. */
function count(from: Json, ...names: string[]): number | null {
  for (const name of names) {
    const value = from[name];
    if (typeof value === 'bigint' && value > 0n) return Number(value);
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
  }
  return null;
}
