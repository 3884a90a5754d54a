import assert from 'node:assert/strict';
import fc from 'fast-check';
import { pick } from '../../api/gateway/balance.ts';
import {
  BLOCK_BYTES,
  MAX_BODY_BYTES,
  MAX_PROMPT_BYTES,
  pickByPrefix,
  promptKeys,
  RecentKeys,
  sessionKeys,
} from '../../api/gateway/prefix.ts';
import { simulate } from './prefix-simulation.ts';

const body = (content: string, rest: object = {}) =>
  Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content }], ...rest }));
const text = fc.string({ minLength: 0, maxLength: 3000, unit: 'binary-ascii' });
const sessionId = fc.string({ minLength: 1, unit: 'binary' }).filter((id) => !id.includes('\0'));
const keyList = fc.array(fc.nat(2), { maxLength: 12 });

/** A chain as `promptKeys` makes it: a key stands for all before it as well. */
const chain = (blocks: readonly number[]) => blocks.map((_, i) => keyOf(blocks.slice(0, i + 1).join(' ')));
const numbers = new Map<string, number>();
const keyOf = (beginning: string) => {
  const key = numbers.get(beginning) ?? numbers.size;
  numbers.set(beginning, key);
  return key;
};

const replica = (inFlight: number, known: readonly number[][] = []) => {
  const recent = new RecentKeys();
  for (const keys of known) recent.remember(keys);
  return { inFlight, elsewhere: 0, aside: false, ejectedUntil: 0, newSince: 0, recent };
};

describe('gateway: prefix-aware balancing', () => {
  it('gives prompts that begin alike the same keys up to where they part', () => {
    fc.assert(
      fc.property(text, text, text, (start, one, other) => {
        const [a, b] = [body(start + one), body(start + other)];
        const from = a.indexOf(':', a.indexOf('"messages"')) + 1;
        let alike = from;
        while (alike < a.length && a[alike] === b[alike]) alike += 1;
        const blocks = Math.floor((alike - from) / BLOCK_BYTES);
        const [keysA, keysB] = [promptKeys(a), promptKeys(b)];
        assert.deepEqual(keysA.slice(0, blocks), keysB.slice(0, blocks));
        // From the first difference on nothing is alike, not even blocks of the same bytes.
        for (let i = blocks; i < Math.min(keysA.length, keysB.length); i++)
          if (!a.equals(b) && alike < from + (i + 1) * BLOCK_BYTES) assert.notEqual(keysA[i], keysB[i]);
      }),
    );
  });

  it('finds the prompt wherever it stands, and takes no text for its field', () => {
    const long = 'y'.repeat(2000);
    const expected = promptKeys(Buffer.from(`{"messages":["${long}"]}`)).slice(0, 5);
    assert.equal(expected.length, 5);
    for (const json of [
      `{"temperature":0.5,"messages":["${long}"]}`,
      `{"user":"says \\"messages\\" and \\"prompt\\"","messages":["${long}"]}`,
    ])
      assert.deepEqual(promptKeys(Buffer.from(json)).slice(0, 5), expected);
    for (const field of ['prompt', 'inputs', 'input'])
      assert.ok(promptKeys(Buffer.from(`{"${field}" :"${long}"}`)).length > 5);
  });

  it('looks at no more than a beginning, and not at all at short, large or other bodies', () => {
    assert.equal(promptKeys(body('x'.repeat(200_000))).length, MAX_PROMPT_BYTES / BLOCK_BYTES);
    assert.deepEqual(promptKeys(body('short')), []);
    assert.deepEqual(promptKeys(body('x'.repeat(MAX_BODY_BYTES))), []);
    assert.deepEqual(promptKeys(Buffer.from(JSON.stringify({ query: 'x'.repeat(2000) }))), []);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => void promptKeys(Buffer.from(bytes))),
    );
  });

  it('tells sessions apart, whatever they are called', () => {
    fc.assert(
      fc.property(sessionId, sessionId, (one, other) => {
        assert.deepEqual(sessionKeys(one), sessionKeys(one));
        if (one !== other) assert.notDeepEqual(sessionKeys(one), sessionKeys(other));
      }),
    );
  });

  it('remembers no more than its limit, and forgets the ends of prompts before their beginnings', () => {
    fc.assert(
      fc.property(fc.array(keyList), fc.integer({ min: 1, max: 20 }), (prompts, limit) => {
        const recent = new RecentKeys(limit);
        for (const blocks of prompts) {
          const keys = chain(blocks);
          recent.remember(keys);
          assert.ok(recent.size <= limit);
          if (keys.length <= limit) assert.equal(recent.matched(keys), keys.length ? 1 : 0);
          // A known block whose beginning was forgotten would be memory for nothing.
          for (const other of prompts.map(chain)) {
            const known = other.filter((key) => recent.matched([key]) === 1).length;
            assert.equal(recent.matched(other), other.length ? known / other.length : 0);
          }
        }
      }),
    );
  });

  it('never chooses a replica much busier than the least loaded one, however much it knows', () => {
    const replicas = fc.array(fc.tuple(fc.nat(200), fc.array(keyList, { maxLength: 4 })), { minLength: 1 });
    fc.assert(
      fc.property(replicas, keyList, fc.nat(), (list, blocks, turn) => {
        const targets = list.map(([inFlight, known]) => replica(inFlight, known.map(chain)));
        const chosen = pickByPrefix(targets, chain(blocks), null, turn, 1e6);
        const least = Math.min(...targets.map(({ inFlight }) => inFlight));
        assert.ok((chosen && chosen.inFlight < 4 + 1.5 * least) || chosen?.inFlight === least);
      }),
    );
  });

  it('is least in flight, in turn, for what nobody knows', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { minLength: 1 }), keyList, fc.nat(), (loads, blocks, turn) => {
        const targets = loads.map((inFlight) => replica(inFlight));
        assert.equal(pickByPrefix(targets, chain(blocks), null, turn, 1e6), pick(targets, null, turn, 1e6));
      }),
    );
  });

  it('goes to who knows most of it, also past a replica that is a little less busy', () => {
    const keys = chain([1, 2, 3, 4]);
    const [idle, half, whole] = [replica(0), replica(1, [keys.slice(0, 2)]), replica(2, [keys])];
    assert.equal(pickByPrefix([idle, half, whole], keys, null, 0, 1e6), whole);
    assert.equal(pickByPrefix([idle, half, whole], keys, whole, 0, 1e6), half);
    whole.inFlight = 5;
    assert.equal(pickByPrefix([idle, half, whole], keys, null, 0, 1e6), half);
    half.ejectedUntil = 2e6;
    assert.equal(pickByPrefix([idle, half, whole], keys, null, 0, 1e6), idle);
  });

  it('raises the share of prompt that engines have in their caches, and keeps the load even', () => {
    const plain = simulate('leastInFlight');
    const prefix = simulate('prefix');
    assert.ok(prefix.hitRate > plain.hitRate + 0.2, `hits ${plain.hitRate} → ${prefix.hitRate}`);
    assert.ok(prefix.meanFirstTokenMs < 0.8 * plain.meanFirstTokenMs, 'time to the first token');
    assert.ok(
      prefix.busiestShare < 1.15 * (1 / 4),
      `busiest of 4 replicas has ${prefix.busiestShare} of the requests`,
    );
  });
});
