import type { ModelFacts, TokenizerFacts } from '../../spec/model-facts.ts';
import type { ApiOptions } from '../api.ts';
import type { ResolvedModel } from '../resolve.ts';
import { readGguf } from './gguf.ts';
import { type Json, readJson } from './json.ts';
import type { FileAt } from './range.ts';
import { readSafetensors } from './safetensors.ts';

export interface InspectRequest {
  repository: string;
  resolved: ResolvedModel;
  /** Which headers to read: the parts of a safetensors model, or one GGUF file; null for none. */
  weights: { safetensors: readonly string[] } | { gguf: string } | null;
}

/**
 * What a model is, from its small files and the headers of its weights: a few requests, some hundred kilobytes, never the
 * weights themselves.
 * @throws EndpointsError NO_USABLE_FILE for a file that is damaged or a Git LFS pointer; HUB_*
 */
export async function inspectModel(
  api: ApiOptions,
  { repository, resolved, weights }: InspectRequest,
): Promise<ModelFacts> {
  const { commit, files } = resolved;
  const there: ReadonlyMap<string, FileAt> = new Map(
    files.map(({ path, sizeBytes }) => [path, { repository, commit, path, sizeBytes }]),
  );
  const json = (path: string) => {
    const file = there.get(path);
    return file ? readJson(api, file) : null;
  };
  const [config, tokenizer, header] = await Promise.all([
    json('config.json'),
    json('tokenizer_config.json'),
    readWeights(api, there, weights),
  ]);
  const { complete = true, ...facts } = header ?? {};
  return {
    repository,
    commit,
    pipelineTag: resolved.pipelineTag,
    library: resolved.library,
    licence: resolved.licence,
    gated: resolved.gated,
    private: resolved.private,
    config,
    tokenizer:
      'format' in facts && facts.format === 'gguf'
        ? tokenizerOfGguf(facts.metadata, complete)
        : tokenizerOf(tokenizer, there),
    weights: 'format' in facts ? facts : null,
  };
}

async function readWeights(
  api: ApiOptions,
  there: ReadonlyMap<string, FileAt>,
  weights: InspectRequest['weights'],
) {
  if (!weights) return null;
  if ('gguf' in weights) {
    const file = there.get(weights.gguf);
    return file ? readGguf(api, file) : null;
  }
  const parts = weights.safetensors.flatMap((path) => there.get(path) ?? []);
  return { ...(await readSafetensors(api, parts)), complete: true };
}

function tokenizerOf(config: Json | null, there: ReadonlyMap<string, unknown>): TokenizerFacts {
  const kind = config?.tokenizer_class;
  return {
    kind: typeof kind === 'string' ? kind : null,
    chatTemplate:
      there.has('chat_template.jinja') || there.has('chat_template.json') || Boolean(config?.chat_template),
  };
}

function tokenizerOfGguf(metadata: Json, complete: boolean): TokenizerFacts {
  const kind = metadata['tokenizer.ggml.model'];
  return {
    kind: typeof kind === 'string' ? kind : null,
    chatTemplate: 'tokenizer.chat_template' in metadata ? true : complete ? false : null,
  };
}
