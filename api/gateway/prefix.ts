import { type Candidate, excessOf, FIRST, pick, rank } from './balance.ts';

/**
 * Prefix-aware balancing: a request goes where the beginning of its prompt has been before, because an engine keeps the
 * computed beginning and need not compute it again. No tokenizer and no parsing: equal bytes are equal tokens.
 */

/** About 64 tokens of English; several engines share what is computed in blocks of 16 to 64 tokens. */
export const BLOCK_BYTES = 256;
/** The beginning that is looked at; two prompts alike so far are alike enough. */
export const MAX_PROMPT_BYTES = 32 * 1024;
/** Bodies above this are not looked into. */
export const MAX_BODY_BYTES = 1024 * 1024;
/** Keys remembered per replica: 4 MB of text, a million tokens, about what one GPU's cache holds. */
const MAX_KEYS = 16_384;

/** Where the prompt stands in the requests of chat, completion, TGI and embedding clients. */
const PROMPT_FIELDS = ['"messages"', '"prompt"', '"inputs"', '"input"'].map((field) => Buffer.from(field));
const NONE: readonly number[] = [];

/**
 * One key per whole block of the prompt in a JSON body. Each depends on all blocks before it, so equal keys at one place
 * mean equal beginnings. Empty when there is no prompt, or less than a block of it.
 */
export function promptKeys(body: Buffer): readonly number[] {
  if (body.length < BLOCK_BYTES || body.length > MAX_BODY_BYTES) return NONE;
  const begin = promptAt(body);
  if (begin < 0) return NONE;
  const end = Math.min(body.length, begin + MAX_PROMPT_BYTES) - BLOCK_BYTES;
  const keys: number[] = [];
  let key = SEED;
  for (let at = begin; at <= end; at += BLOCK_BYTES) {
    key = mix(body, at, at + BLOCK_BYTES, key);
    keys.push(key);
  }
  return keys;
}

/** The key of a session: all its requests belong together, whatever is in them. */
export function sessionKeys(id: string): readonly number[] {
  const bytes = Buffer.alloc(Math.ceil(Buffer.byteLength(id) / 4) * 4);
  bytes.write(id);
  return [mix(bytes, 0, bytes.length, SESSION_SEED)];
}

/** Just behind the colon of the field; -1 when there is none. A string that contains the field's name is not one. */
function promptAt(body: Buffer): number {
  for (const field of PROMPT_FIELDS) {
    for (let at = body.indexOf(field); at >= 0; at = body.indexOf(field, at + 1)) {
      let behind = at + field.length;
      while (body[behind] === SPACE) behind += 1;
      if (body[behind] === COLON) return behind + 1;
    }
  }
  return -1;
}

const SPACE = 32;
const COLON = 58;
const SEED = 0x2545f491;
const SESSION_SEED = 0x1b873593;

/** Murmur3's mixing of 32-bit words: quick, and spread well enough that two of a million keys rarely meet. */
function mix(bytes: Buffer, from: number, to: number, seed: number): number {
  let hash = seed;
  for (let at = from; at < to; at += 4) {
    let word = Math.imul(bytes.readInt32LE(at), 0xcc9e2d51);
    word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
    hash ^= word;
    hash = Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) | 0;
}

/** Keys of what a replica was sent lately, the least recent forgotten first. */
export class RecentKeys {
  readonly #keys = new Set<number>();
  readonly #limit: number;

  constructor(limit = MAX_KEYS) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** How much of the beginning is known, 0 to 1. */
  matched(keys: readonly number[]): number {
    let known = 0;
    while (known < keys.length && this.#keys.has(keys[known] as number)) known += 1;
    return keys.length === 0 ? 0 : known / keys.length;
  }

  /** The beginning is remembered as more recent than the rest: forgetting takes the ends first, as engines do. */
  remember(keys: readonly number[]): void {
    for (let i = keys.length - 1; i >= 0; i--) {
      this.#keys.delete(keys[i] as number);
      this.#keys.add(keys[i] as number);
    }
    for (const oldest of this.#keys) {
      if (this.#keys.size <= this.#limit) return;
      this.#keys.delete(oldest);
    }
  }
}

/**
 * The replica that knows most of the beginning, as long as its load is near the least loaded one's; that one when
 * nobody knows it. Null when none can be had.
 */
export function pickByPrefix<T extends Candidate & { readonly recent: RecentKeys }>(
  targets: readonly T[],
  keys: readonly number[],
  avoid: T | null,
  turn: number,
  now: number,
  random: (() => number) | null = null,
): T | null {
  const least = pick(targets, avoid, turn, now, random);
  if (least === null || keys.length === 0) return least;
  let best = least;
  let bestValue = least.recent.matched(keys);
  for (const target of targets) {
    if (target === avoid || target === least || rank(target, now) !== FIRST) continue;
    const excess = excessOf(target, least);
    if (excess >= 1) continue;
    const value = target.recent.matched(keys) - excess;
    if (value <= bestValue) continue;
    best = target;
    bestValue = value;
  }
  return best;
}
