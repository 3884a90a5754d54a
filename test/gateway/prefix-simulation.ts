import { pick } from '../../api/gateway/balance.ts';
import { MAX_PROMPT_BYTES, pickByPrefix, promptKeys, RecentKeys } from '../../api/gateway/prefix.ts';

/**
 * Chats on four replicas, in simulated time: each turn carries the whole conversation, which begins with one of eight
 * instructions. An engine works on one prompt at a time, in the order of arrival, skips what its cache holds,
 * and then writes the answer beside others. The same seed gives the same chats to each balancer.
 */
export interface Outcome {
  /** Share of prompt blocks found in the cache of the engine that got them. */
  hitRate: number;
  meanFirstTokenMs: number;
  /** Requests of the busiest replica ÷ all. */
  busiestShare: number;
}

const REPLICAS = 4;
const CHATS = 200;
const TURNS = 6;
/** Of 256 bytes: what an engine computes in 4 ms holds about 64 tokens. */
const PREFILL_MS_PER_BLOCK = 4;
const ANSWER_MS = 400;
const BETWEEN_CHATS_MS = 150;
const BETWEEN_TURNS_MS = 1500;
/** A quarter of all blocks there are: no engine can hold everything. */
const CACHE_BLOCKS = 2000;

export function simulate(balancer: 'leastInFlight' | 'prefix'): Outcome {
  const random = generator(42);
  const replicas = Array.from({ length: REPLICAS }, () => ({
    ...{
      inFlight: 0,
      elsewhere: 0,
      aside: false,
      ejectedUntil: 0,
      newSince: -1e9,
      recent: new RecentKeys(),
    },
    cache: new RecentKeys(CACHE_BLOCKS),
    freeAt: 0,
    requests: 0,
  }));
  const events: { at: number; run: (now: number) => void }[] = [];
  const after = (at: number, run: (now: number) => void) => events.push({ at, run });
  const firstTokens: number[] = [];
  let blocks = 0;
  let hits = 0;
  let turn = 0;

  const ask = (history: string, left: number) => (now: number) => {
    const keys = promptKeys(Buffer.from(JSON.stringify({ messages: [{ role: 'user', content: history }] })));
    turn += 1;
    const choice =
      balancer === 'prefix' ? pickByPrefix(replicas, keys, null, turn, now) : pick(replicas, null, turn, now);
    if (!choice) throw new Error('no replica');
    if (balancer === 'prefix') choice.recent.remember(keys);
    choice.inFlight += 1;
    choice.requests += 1;
    const matched = Math.round(choice.cache.matched(keys) * keys.length);
    choice.cache.remember(keys);
    blocks += keys.length;
    hits += matched;
    choice.freeAt = Math.max(choice.freeAt, now) + (keys.length - matched) * PREFILL_MS_PER_BLOCK;
    firstTokens.push(choice.freeAt - now);
    after(choice.freeAt + ANSWER_MS, (end) => {
      choice.inFlight -= 1;
      const next = history + words(random, 1000);
      if (left > 1 && next.length < MAX_PROMPT_BYTES)
        after(end + random() * 2 * BETWEEN_TURNS_MS, ask(next, left - 1));
    });
  };

  const instructions = Array.from({ length: 8 }, () => words(random, 2000));
  for (let chat = 0; chat < CHATS; chat += 1) {
    const begin = `${instructions[chat % 8]} ${words(random, 500)}`;
    after(chat * BETWEEN_CHATS_MS * 2 * random(), ask(begin, TURNS));
  }
  while (events.length > 0) {
    events.sort((a, b) => b.at - a.at);
    const event = events.pop();
    event?.run(event.at);
  }
  return {
    hitRate: hits / blocks,
    meanFirstTokenMs: firstTokens.reduce((sum, ms) => sum + ms, 0) / firstTokens.length,
    busiestShare: Math.max(...replicas.map(({ requests }) => requests)) / firstTokens.length,
  };
}

function words(random: () => number, length: number): string {
  let text = '';
  while (text.length < length) text += `${random().toString(36).slice(2, 8)} `;
  return text;
}

/** Mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
