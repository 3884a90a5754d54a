/** What an answer cost, as its engine says. */
export interface TokensUsed {
  readonly prompt: number;
  readonly completion: number;
}

export const NO_TOKENS: TokensUsed = { prompt: 0, completion: 0 };

/** Chunks kept from the end of an answer: the one with the usage and the few that follow it (`[DONE]`, an empty one). */
const LAST_CHUNKS = 4;
/** Looked at of the end and, for engines that write `usage` before their data, of the beginning. */
const TAIL_BYTES = 16 * 1024;
const HEAD_BYTES = 1024;
/** A usage object is smaller. */
const MAX_OBJECT = 2048;

/**
 * Keeps hold of the beginning and the end of an answer while it goes through, and reads the tokens from there when it is
 * over: nothing is parsed, copied or looked at per chunk.
 */
export class AnswerEnds {
  #first: Buffer | null = null;
  readonly #last: (Buffer | undefined)[] = new Array(LAST_CHUNKS);
  #count = 0;

  note(chunk: Buffer): void {
    this.#first ??= chunk;
    this.#last[this.#count % LAST_CHUNKS] = chunk;
    this.#count += 1;
  }

  tokensUsed(): TokensUsed {
    if (this.#first === null) return NO_TOKENS;
    let tail = '';
    for (let i = 1; i <= LAST_CHUNKS && i <= this.#count && tail.length < TAIL_BYTES; i++) {
      const chunk = this.#last[(this.#count - i) % LAST_CHUNKS] as Buffer;
      const begin = Math.max(chunk.length - (TAIL_BYTES - tail.length), 0);
      tail = chunk.toString('latin1', begin) + tail;
    }
    const found = usageIn(tail);
    if (found !== null) return found;
    // Most answers are short enough to have been looked at as a whole.
    const whole = this.#count <= LAST_CHUNKS && tail.length < TAIL_BYTES;
    return (whole ? null : usageIn(this.#first.toString('latin1', 0, HEAD_BYTES))) ?? NO_TOKENS;
  }
}

/** From the last place that says it; null when none does. */
export function usageIn(text: string): TokensUsed | null {
  return (
    fromObject(text, '"usage"', [
      ['prompt_tokens', 'completion_tokens'],
      ['input_tokens', 'output_tokens'],
    ]) ??
    // llama.cpp says it in every last chunk, also when no usage was asked for.
    fromObject(text, '"timings"', [['prompt_n', 'predicted_n', 'cache_n']]) ??
    // TGI's own routes, where details were asked for.
    generated(text)
  );
}

function generated(text: string): TokensUsed | null {
  // The pattern tries every place.
  if (!text.includes('generated_tokens')) return null;
  const [, tokens] = /(?<!\\)"generated_tokens"\s*:\s*(\d{1,9})/.exec(text) ?? [];
  return tokens === undefined ? null : { prompt: 0, completion: Number(tokens) };
}

/** The last object under `key` that is one and has one of the pairs of fields. */
function fromObject(
  text: string,
  key: string,
  fields: readonly (readonly [string, string, string?])[],
): TokensUsed | null {
  for (let at = text.lastIndexOf(key); at >= 0; at = at === 0 ? -1 : text.lastIndexOf(key, at - 1)) {
    // `\"usage\"` is what somebody wrote, not what the engine says.
    if (text.charCodeAt(at - 1) === BACKSLASH) continue;
    const object = objectAfter(text, at + key.length);
    if (object === null) continue;
    for (const [prompt, completion, cached] of fields) {
      const [p, c] = [count(object[prompt]), count(object[completion])];
      if (p === null && c === null) continue;
      return { prompt: (p ?? 0) + (cached ? (count(object[cached]) ?? 0) : 0), completion: c ?? 0 };
    }
  }
  return null;
}

const BACKSLASH = 92;

/** `: {…}` at this place, parsed; null when it is something else or does not end within reach. */
function objectAfter(text: string, from: number): Record<string, unknown> | null {
  const open = /^\s*:\s*\{/.exec(text.slice(from, from + 16));
  if (!open) return null;
  const begin = from + open[0].length - 1;
  let depth = 0;
  for (let i = begin; i < text.length && i < begin + MAX_OBJECT; i++) {
    const char = text[i];
    if (char === '{') depth += 1;
    else if (char === '}' && --depth === 0) return parsed(text.slice(begin, i + 1));
  }
  return null;
}

function parsed(json: string): Record<string, unknown> | null {
  try {
    return JSON.parse(json) as Record<string, unknown>;
  } catch {
    return null;
  }
}

function count(value: unknown): number | null {
  return typeof value === 'number' && value >= 0 && Number.isSafeInteger(value) ? value : null;
}
