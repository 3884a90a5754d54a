import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  type Answering,
  type Outlier,
  type OutlierMemory,
  outliers,
} from '../../workflows/policy/outliers.ts';

/** Replicas of one endpoint that are looked at once a second; each answers so often in between, so often with an error. */
class Stage {
  #memory: OutlierMemory = new Map();
  readonly #counts = new Map<number, { answers: number; errors: number; failing: boolean }>();
  now = 0;
  readonly found: (Outlier & { at: number })[] = [];

  second(answers: Record<number, { good?: number; bad?: number }>): void {
    for (const [number, { good = 0, bad = 0 }] of Object.entries(answers)) {
      const before = this.#counts.get(Number(number)) ?? { answers: 0, errors: 0, failing: false };
      this.#counts.set(Number(number), {
        answers: before.answers + good + bad,
        errors: before.errors + bad,
        failing: good > 0 ? false : bad > 0 || before.failing,
      });
    }
    this.now += 1000;
    const rows = [...this.#counts].map(
      ([number, counts]): Answering => ({
        endpoint: 'acme/chat',
        gatewayId: 'g',
        replicaId: `r-${number}`,
        number,
        revision: 1,
        ...counts,
      }),
    );
    const any = rows.some((row) => row.failing);
    const { memory, found } = outliers(this.#memory, any ? rows : [], this.now);
    this.#memory = memory;
    this.found.push(...found.map((one) => ({ ...one, at: this.now })));
  }

  seconds(count: number, answers: Record<number, { good?: number; bad?: number }>): this {
    for (let n = 0; n < count; n++) this.second(answers);
    return this;
  }

  gone(number: number): void {
    this.#counts.delete(number);
  }
}

describe('policy: outliers', () => {
  it('a replica that only errs beside one that answers is replaced after half a minute, with what it did', () => {
    const stage = new Stage().seconds(29, { 1: { good: 5 }, 2: { bad: 1 } });
    assert.equal(stage.found.length, 0);
    stage.seconds(3, { 1: { good: 5 }, 2: { bad: 1 } });
    assert.equal(stage.found.length, 1);
    assert.equal(stage.found[0]?.number, 2);
    assert.match(
      stage.found[0]?.failure.message ?? '',
      /^replica 2 answered (\d+) of \1 requests with 5xx .* for 30 s/,
    );
  });

  it('one that fails for a moment is not', () => {
    const stage = new Stage();
    for (let n = 0; n < 10; n++)
      stage.seconds(20, { 1: { good: 5 }, 2: { bad: 1 } }).seconds(5, { 1: { good: 5 }, 2: { good: 5 } });
    assert.equal(stage.found.length, 0);
  });

  it('one that failed once and was not asked again is not', () => {
    const stage = new Stage().seconds(2, { 1: { good: 5 }, 2: { bad: 5 } }).seconds(120, { 1: { good: 5 } });
    assert.equal(stage.found.length, 0);
  });

  it('where all fail, none is: new ones would do no better', () => {
    assert.equal(new Stage().seconds(300, { 1: { bad: 1 }, 2: { bad: 1 } }).found.length, 0);
  });

  it('one that stands alone is not: the host asks it', () => {
    assert.equal(new Stage().seconds(300, { 1: { bad: 1 } }).found.length, 0);
  });

  it('of two that fail beside a good one, one goes at a time', () => {
    const stage = new Stage().seconds(32, { 1: { good: 5 }, 2: { bad: 1 }, 3: { bad: 1 } });
    assert.deepEqual(
      stage.found.map(({ number }) => number),
      [2],
    );
  });

  it('successors that fail as well wait twice as long each time', () => {
    const stage = new Stage();
    let number = 2;
    for (let second = 0; second < 3600; second++) {
      const before = stage.found.length;
      stage.second({ 1: { good: 5 }, [number]: { bad: 1 } });
      if (stage.found.length === before) continue;
      stage.gone(number);
      number += 1;
    }
    const gaps = stage.found.slice(1).map(({ at }, n) => Math.round((at - (stage.found[n]?.at ?? 0)) / 1000));
    assert.ok(gaps.length >= 4, String(gaps));
    for (const [n, gap] of gaps.entries()) assert.ok(gap >= Math.min(1800, 60 * 2 ** n), String(gaps));
  });

  it('one that is still there half a minute after is told of again, and counts once', () => {
    const stage = new Stage().seconds(95, { 1: { good: 5 }, 2: { bad: 1 } });
    assert.deepEqual(
      stage.found.map(({ number }) => number),
      [2, 2, 2],
    );
  });

  it('never names one that answers well, whatever happens', () => {
    const second = fc.record({
      1: fc.record({ good: fc.nat(3), bad: fc.nat(3) }),
      2: fc.record({ good: fc.nat(1), bad: fc.nat(3) }),
      3: fc.record({ good: fc.integer({ min: 1, max: 5 }), bad: fc.constant(0) }),
    });
    fc.assert(
      fc.property(fc.array(second, { minLength: 30, maxLength: 200 }), (life) => {
        const stage = new Stage();
        for (const now of life) stage.second(now);
        assert.ok(stage.found.every(({ number }) => number !== 3));
      }),
    );
  });
});
