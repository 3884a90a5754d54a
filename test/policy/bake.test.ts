import assert from 'node:assert/strict';
import fc from 'fast-check';
import { atLeast, judge, type Sample, split, type Tally, tally } from '../../workflows/policy/bake.ts';

const SETTINGS = { seconds: 60, requests: 500, maxErrorPercent: 5 };
const NONE = { answers: 0, errors: 0 };
const SINCE = 1_800_000_000_000;
const at = (seconds: number) => SINCE + seconds * 1000;

const counts = fc
  .record({ answers: fc.nat(2000), share: fc.double({ min: 0, max: 1, noNaN: true }) })
  .map(({ answers, share }) => ({ answers, errors: Math.floor(answers * share) }));

describe('policy: the watch on a new revision', () => {
  it('is patient while there is time, and content when it is over without a complaint', () => {
    assert.equal(judge({ trial: NONE, others: NONE }, SETTINGS, SINCE, at(59)), null);
    assert.equal(judge({ trial: NONE, others: NONE }, SETTINGS, SINCE, at(60)), 'good');
  });

  it('ends early with enough good answers', () => {
    const trial = { answers: 500, errors: 3 };
    assert.equal(judge({ trial, others: NONE }, SETTINGS, SINCE, at(2)), 'good');
  });

  it('is over at once when every answer is an error, and not for one or two', () => {
    assert.equal(judge({ trial: { answers: 3, errors: 3 }, others: NONE }, SETTINGS, SINCE, at(1)), 'bad');
    assert.equal(judge({ trial: { answers: 2, errors: 2 }, others: NONE }, SETTINGS, SINCE, at(1)), null);
  });

  it('does not take a few errors among many answers for more than they may be', () => {
    const trial = { answers: 100, errors: 6 };
    assert.equal(judge({ trial, others: NONE }, SETTINGS, SINCE, at(59)), null);
    assert.equal(judge({ trial: { answers: 100, errors: 20 }, others: NONE }, SETTINGS, SINCE, at(1)), 'bad');
  });

  it('forgives errors that the old revision has as well, because something else is broken', () => {
    const others = { answers: 300, errors: 150 };
    assert.equal(judge({ trial: { answers: 100, errors: 55 }, others }, SETTINGS, SINCE, at(60)), 'good');
    const few = { answers: 2, errors: 1 };
    assert.equal(judge({ trial: { answers: 100, errors: 55 }, others: few }, SETTINGS, SINCE, at(1)), 'bad');
  });

  it('has a verdict by the end whatever happened, and one more error never makes it better', () => {
    fc.assert(
      fc.property(counts, counts, fc.nat(120), (trial, others, seconds) => {
        const now = judge({ trial, others }, SETTINGS, SINCE, at(seconds));
        if (seconds >= 60) assert.notEqual(now, null);
        if (trial.errors === trial.answers || now !== 'bad') return;
        const worse = { answers: trial.answers, errors: trial.errors + 1 };
        assert.equal(judge({ trial: worse, others }, SETTINGS, SINCE, at(seconds)), 'bad');
      }),
    );
  });

  it('finds a revision good that has fewer errors than are allowed, whatever the old one had', () => {
    fc.assert(
      fc.property(fc.nat(2000), counts, fc.nat(120), (answers, others, seconds) => {
        const trial = { answers, errors: Math.floor(answers * 0.05) };
        assert.notEqual(judge({ trial, others }, SETTINGS, SINCE, at(seconds)), 'bad');
      }),
    );
  });

  it('knows the least share of errors: never above what was seen, and nearer with more answers', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.double({ min: 0, max: 1, noNaN: true }), (n, p) => {
        const few = { answers: n, errors: Math.floor(n * p) };
        const many = { answers: 10 * few.answers, errors: 10 * few.errors };
        assert.ok(atLeast(few) >= 0 && atLeast(few) <= few.errors / few.answers + 1e-9);
        assert.ok(atLeast(many) >= atLeast(few) - 1e-9);
      }),
    );
  });
});

describe('policy: counting answers', () => {
  const sample = (over: Partial<Sample>): Sample => ({
    gatewayId: 'g',
    replicaId: 'r',
    revision: 1,
    answers: 0,
    errors: 0,
    ...over,
  });

  it('takes a new revision from its beginning, the others from now on', () => {
    const first = tally(
      null,
      [
        sample({ replicaId: 'old', answers: 1000, errors: 10 }),
        sample({ replicaId: 'new', revision: 2, answers: 5, errors: 1 }),
      ],
      2,
    );
    assert.deepEqual(split(first, 2), { trial: { answers: 5, errors: 1 }, others: NONE });
    const second = tally(first, [sample({ replicaId: 'old', answers: 1004, errors: 11 })], 2);
    assert.deepEqual(split(second, 2), {
      trial: { answers: 5, errors: 1 },
      others: { answers: 4, errors: 1 },
    });
  });

  it('counts exactly what was answered, however often a gateway begins anew', () => {
    const step = fc.record({ answers: fc.nat(50), errors: fc.nat(50), restart: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        let counted: Tally = tally(null, [sample({ revision: 2 })], 2);
        let counter = { answers: 0, errors: 0 };
        const total = { answers: 0, errors: 0 };
        for (const { answers, errors, restart } of steps) {
          const bad = Math.min(answers, errors);
          // A restart is seen by a counter that is lower than before: it must not catch up unseen.
          if (restart && answers < counter.answers) counter = { answers: 0, errors: 0 };
          counter = { answers: counter.answers + answers, errors: counter.errors + bad };
          total.answers += answers;
          total.errors += bad;
          counted = tally(counted, [sample({ revision: 2, ...counter })], 2);
        }
        assert.deepEqual(split(counted, 2).trial, total);
      }),
    );
  });
});
