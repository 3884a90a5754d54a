/** What kind of answer a model gives, as far as engines tell kinds apart. */
export type Kind = 'generate' | 'embed' | 'rank' | 'classify' | 'other' | 'unknown';

const KINDS: Readonly<Record<string, Kind>> = {
  'text-generation': 'generate',
  'text2text-generation': 'generate',
  'image-text-to-text': 'generate',
  conversational: 'generate',
  summarization: 'generate',
  translation: 'generate',
  'feature-extraction': 'embed',
  'sentence-similarity': 'embed',
  'sentence-embeddings': 'embed',
  'sentence-ranking': 'rank',
  'text-ranking': 'rank',
  'text-classification': 'classify',
};

/** The kind of a Hub pipeline tag; `custom` and no tag say nothing. */
export function kindOf(task: string | null | undefined): Kind {
  if (task == null || task === 'custom') return 'unknown';
  return Object.hasOwn(KINDS, task) ? (KINDS[task] ?? 'other') : 'other';
}
