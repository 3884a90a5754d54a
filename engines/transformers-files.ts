import type { FileSelection, RepositoryFile } from './engine.ts';
import { isShard, shardSets } from './shards.ts';

export interface TransformersNeeds {
  /** Display name of the engine, for the refusal. */
  engine: string;
  /** PyTorch's own files will do when there are no safetensors. */
  pickles: boolean;
  /** Python files of the repository are needed, because the owner lets them run. */
  code: boolean;
}

/** Read beside the weights: configuration, tokenizer and vocabulary, chat templates. */
const SUPPORTING = /\.(json|txt|model|spm|tiktoken|jinja)$|^tokenizer\.model\.v\d+\w*$|^merges\.txt$/;
/** At the root, but not for the engine. */
const NOT_FOR_ENGINES =
  /^(README.*|LICEN[CS]E.*|NOTICE.*|requirements\.txt|trainer_state\.json|.*results?\.json)$/i;
/** Folders that belong to the model: the modules of sentence-transformers, and further chat templates. */
const MODEL_FOLDER = /^(\d+_\w+|additional_chat_templates)\//;
const ADAPTER = /^adapter_model\.(safetensors|bin)$/;
const PICKLE = /^pytorch_model(-\d{5}-of-\d{5})?\.bin$/;
const MAX_NAMED = 20;

/**
 * The files an engine that loads Transformers models reads: one copy of the weights (safetensors over PyTorch's own
 * format; never both, and none of other frameworks), configuration, tokenizer, chat templates. Other folders hold
 * further copies (`onnx/`, `original/`) and stay out.
 */
export function selectTransformers(
  files: readonly RepositoryFile[],
  needs: TransformersNeeds,
): FileSelection {
  const paths = files.map((file) => file.path);
  const root = paths.filter((path) => !path.includes('/'));
  const weights = weightsOf(root, needs);
  if (!weights) return nothingUsable(paths, root, needs);
  const missing = shardSets(weights).flatMap((set) => set.missing);
  if (missing.length)
    return refuse(
      `the repository lacks ${missing.length === 1 ? 'a part' : `${missing.length} parts`} of the weights (${named(missing)}): complete the upload, or choose another revision`,
    );
  if (!root.includes('config.json') && !root.includes('params.json'))
    return refuse(
      `the repository has weights and no config.json, without which ${needs.engine} cannot know the model`,
    );
  const wanted = new Set(weights);
  const indexes = new Set(shardSets(weights).map((set) => set.index));
  const supporting = (path: string) =>
    path.endsWith('.index.json') ? indexes.has(path) : isSupporting(path, needs.code);
  return { ok: true, files: files.filter(({ path }) => wanted.has(path) || supporting(path)) };
}

function isSupporting(path: string, code: boolean): boolean {
  const folder = MODEL_FOLDER.exec(path)?.[0] ?? '';
  const name = path.slice(folder.length);
  if (name.includes('/')) return false;
  // A dense layer of a sentence-transformers model is a small weights file of its own.
  if (folder && /\.(safetensors|bin)$/.test(name)) return true;
  if (name.endsWith('.py')) return code;
  return SUPPORTING.test(name) && !NOT_FOR_ENGINES.test(name);
}

function weightsOf(root: readonly string[], needs: TransformersNeeds): string[] | null {
  const safetensors = root.filter((path) => path.endsWith('.safetensors') && !ADAPTER.test(path));
  // Mistral puts the same weights in once more in its own layout, under this name.
  const consolidated = safetensors.filter((path) => path.startsWith('consolidated'));
  const others = safetensors.filter((path) => !path.startsWith('consolidated'));
  if (others.length) return oneCopy(others, root);
  if (consolidated.length) return consolidated;
  const pickles = root.filter((path) => PICKLE.test(path));
  return needs.pickles && pickles.length ? oneCopy(pickles, root) : null;
}

/** Of a whole file and its parts: the parts when an index says so, as the loaders do; no `fp16` and other variants. */
function oneCopy(weights: readonly string[], root: readonly string[]): string[] {
  const indexed = shardSets(weights).filter((set) => root.includes(set.index));
  if (indexed.length) return indexed.flatMap((set) => set.present);
  const whole = weights.filter((path) => !isShard(path));
  const main = whole.find((path) => path === 'model.safetensors' || path === 'pytorch_model.bin');
  return main ? [main] : [...weights];
}

function nothingUsable(
  paths: readonly string[],
  root: readonly string[],
  { engine, pickles }: TransformersNeeds,
): FileSelection {
  const gguf = paths.filter((path) => path.toLowerCase().endsWith('.gguf'));
  if (gguf.length)
    return refuse(
      `the repository holds GGUF files (${named(gguf)}), which ${engine} does not read: use model.image.llamacpp with one of them as modelPath`,
    );
  if (root.some((path) => ADAPTER.test(path)))
    return refuse(
      `the repository holds a LoRA adapter and not a model: name its base model in model.repository`,
    );
  const there = paths.filter((path) => /\.(bin|pth?|msgpack|h5|onnx|safetensors|ckpt)$/.test(path));
  const reads = pickles ? 'safetensors or pytorch_model.bin' : 'safetensors';
  return refuse(
    `${engine} needs weights as ${reads} in the root of the repository, which has ${there.length ? `only ${named(there)}` : 'no weights'}: choose a repository or revision that has them`,
  );
}

function refuse(message: string): FileSelection {
  return { ok: false, code: 'NO_USABLE_FILE', message };
}

function named(paths: readonly string[]): string {
  return paths.slice(0, MAX_NAMED).join(', ') + (paths.length > MAX_NAMED ? ', …' : '');
}
