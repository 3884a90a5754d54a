import type { ImageVariant } from '../../spec/images.ts';
import type { ModelFacts } from '../../spec/model-facts.ts';
import type { RepositoryFile } from '../engine.ts';
import { selectToolkit } from '../toolkit-files.ts';
import { selectTransformers } from '../transformers-files.ts';
import { mainGgufs } from './gguf-files.ts';
import { architecturesOf, modelKind } from './kind.ts';

/** An engine for a model, and in a few words why. */
export interface EngineChoice {
  variant: ImageVariant;
  reason: string;
}

export interface EngineChoices {
  /** Best first. */
  suited: EngineChoice[];
  unsuited: EngineChoice[];
}

/** What TEI implements, by `model_type`. */
const TEI_TYPES =
  /^(bert|roberta|camembert|xlm-roberta|distilbert|mpnet|nomic_bert|jina_bert|new|gte|modernbert|mistral|qwen2|qwen3|gemma3_text|deberta-v2|electra)/;

/** Which engines can serve a model, the best first. */
export function chooseEngines(
  facts: ModelFacts,
  files: readonly RepositoryFile[],
  task: string | null,
): EngineChoices {
  const judged = JUDGES.map(({ variant, judge }) => ({
    variant,
    ...judge({ facts, files, kind: modelKind(facts, task) }),
  }));
  const of = (ok: boolean) =>
    judged.filter((one) => one.ok === ok).map(({ variant, reason }) => ({ variant, reason }));
  return { suited: of(true), unsuited: of(false) };
}

interface Case {
  facts: ModelFacts;
  files: readonly RepositoryFile[];
  kind: ReturnType<typeof modelKind>;
}
interface Verdict {
  ok: boolean;
  reason: string;
}

const yes = (reason: string): Verdict => ({ ok: true, reason });
const no = (reason: string): Verdict => ({ ok: false, reason });

/** In the order in which they are preferred where several can. */
const JUDGES: readonly { variant: ImageVariant; judge: (model: Case) => Verdict }[] = [
  { variant: 'tei', judge: judgeTei },
  { variant: 'vLLM', judge: (model) => judgeGenerator(model, 'vLLM') },
  { variant: 'llamacpp', judge: judgeLlamacpp },
  { variant: 'sGLang', judge: (model) => judgeGenerator(model, 'SGLang') },
  { variant: 'tgi', judge: (model) => judgeGenerator(model, 'TGI') },
  { variant: 'huggingface', judge: judgeToolkit },
];

function judgeLlamacpp({ files }: Case): Verdict {
  return mainGgufs(files).length
    ? yes('the repository holds GGUF files')
    : no('the repository has no GGUF file');
}

function judgeTei({ facts, files, kind }: Case): Verdict {
  const what = { embed: 'embeds', rank: 'ranks', classify: 'classifies' }[kind as string];
  if (!what) return no('TEI embeds, ranks and classifies, and the model does neither');
  const selected = selectTransformers(files, { engine: 'TEI', pickles: true, code: false });
  if (!selected.ok) return no(selected.message);
  const type = String(facts.config?.model_type ?? '');
  return TEI_TYPES.test(type)
    ? yes(`the model ${what} text, and TEI has its architecture ${type}`)
    : no(`TEI does not know the architecture '${type}'`);
}

function judgeGenerator({ facts, files, kind }: Case, engine: 'vLLM' | 'SGLang' | 'TGI'): Verdict {
  if (kind !== 'generate' && kind !== 'unknown') return no(`the model does not generate text`);
  const selected = selectTransformers(files, { engine, pickles: engine !== 'TGI', code: false });
  if (!selected.ok) return no(selected.message);
  if (facts.config?.is_encoder_decoder === true)
    return no(`${engine} does not run encoder-decoder models such as this one`);
  const [architecture] = architecturesOf(facts);
  if (kind === 'unknown' && architecture === undefined)
    return no('nothing says that the model generates text');
  if (files.some(({ path }) => path === 'handler.py'))
    return no('the repository brings a handler of its own, which the Inference Toolkit runs');
  const of = architecture ? ` (${architecture})` : '';
  return yes(
    engine === 'TGI'
      ? `the model generates text${of}; TGI is maintained and no longer developed`
      : `the model generates text${of} and comes as ${weightsName(selected.files)}`,
  );
}

function judgeToolkit({ files }: Case): Verdict {
  const selected = selectToolkit(files);
  if (!selected.ok) return no(selected.message);
  return yes(
    files.some(({ path }) => path === 'handler.py')
      ? 'the repository brings a handler of its own'
      : 'the Inference Toolkit runs any model that Transformers, sentence-transformers or diffusers load',
  );
}

function weightsName(files: readonly RepositoryFile[]): string {
  return files.some(({ path }) => path.endsWith('.safetensors')) ? 'safetensors' : 'PyTorch files';
}
