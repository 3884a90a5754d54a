import type { ModelFacts } from '../../spec/model-facts.ts';
import { type Kind, kindOf } from '../tasks.ts';

/** Architectures of GGUF files that embed and do not generate. */
const GGUF_ENCODERS = /^(bert|nomic-bert|nomic-bert-moe|jina-bert|modern-bert|gemma-embedding)/;

/** What kind of answers a model gives: as the owner or the Hub says, else as its configuration lets one guess. */
export function modelKind(
  facts: Pick<ModelFacts, 'pipelineTag' | 'library' | 'config' | 'weights'>,
  task: string | null,
): Kind {
  const said = kindOf(task ?? facts.pipelineTag);
  if (said !== 'unknown') return said;
  if (facts.library === 'sentence-transformers') return 'embed';
  if (facts.weights?.format === 'gguf') {
    const architecture = String(facts.weights.metadata['general.architecture'] ?? '');
    return GGUF_ENCODERS.test(architecture) ? 'embed' : 'generate';
  }
  const [architecture = ''] = architecturesOf(facts);
  if (/For(CausalLM|ConditionalGeneration)$|LMHeadModel$/.test(architecture)) return 'generate';
  if (/ForSequenceClassification$/.test(architecture)) return 'classify';
  if (/(Bert|BERT|Roberta|RobertaX|MPNet|Electra|GTE|New)\w*Model$/.test(architecture)) return 'embed';
  return 'unknown';
}

export function architecturesOf({ config }: Pick<ModelFacts, 'config'>): string[] {
  const listed = config?.architectures;
  return Array.isArray(listed) ? listed.filter((name) => typeof name === 'string') : [];
}
