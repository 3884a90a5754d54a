/** What the Hub tells about a model without its weights being downloaded. */
export interface ModelFacts {
  repository: string;
  /** Full commit hash. */
  commit: string;
  /** The Hub's task, such as `text-generation`; null when the model names none. */
  pipelineTag: string | null;
  /** The library the model was made with, such as `transformers`; null when it names none. */
  library: string | null;
  /** Licence as the Hub shows it, such as `apache-2.0`; null when none is named. */
  licence: string | null;
  gated: boolean;
  private: boolean;
  /** `config.json`; null when there is none. */
  config: Readonly<Record<string, unknown>> | null;
  tokenizer: TokenizerFacts;
  /** Null when no header was asked for. */
  weights: SafetensorsFacts | GgufFacts | null;
}

export interface TokenizerFacts {
  /** Such as `LlamaTokenizerFast`, or a GGUF file's `gpt2`; null when nothing says. */
  kind: string | null;
  /** Whether the model brings a chat template; null when it was not looked at far enough to know. */
  chatTemplate: boolean | null;
}

export interface SafetensorsFacts {
  format: 'safetensors';
  /** Stored numbers per dtype, as in the headers. Packed formats store several parameters in one number. */
  parameters: Readonly<Record<string, number>>;
  /** From some of many parts, scaled to the size of all. */
  estimated: boolean;
}

export interface GgufFacts {
  format: 'gguf';
  /** The file whose header was read. */
  path: string;
  /** Scalars of its header; of long lists their length only, under the name with `.length`. */
  metadata: Readonly<Record<string, unknown>>;
}
