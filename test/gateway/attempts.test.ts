import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Attempts, type FailedAttempt } from '../../api/gateway/attempts.ts';

const DIED: FailedAttempt = { kind: 'lost', reused: false, received: false, replayable: true };

describe('gateway: what follows a failed attempt', () => {
  for (const [what, change, verdict] of [
    ['no connection came about', { kind: 'noConnection' }, 'elsewhere'],
    ['no more requests were taken for its replica', { kind: 'closed' }, 'repeat'],
    ['an idle connection was closed as it was sent', { reused: true }, 'repeat'],
    ['a replica died with it', {}, 'elsewhere'],
    ['part of an answer had come', { received: true }, 'giveUp'],
    ['its body cannot be sent again', { replayable: false }, 'giveUp'],
    ['the gateway ended it', { kind: 'ended', reused: true }, 'giveUp'],
    ['what came was no answer', { kind: 'garbled', received: true }, 'giveUp'],
  ] as const) {
    it(`when ${what}: ${verdict}`, () => {
      assert.equal(new Attempts().failed({ ...DIED, ...change }), verdict);
    });
  }

  it('is the end after two replicas have died, and two repetitions', () => {
    const deaths = new Attempts();
    assert.deepEqual([deaths.failed(DIED), deaths.failed(DIED)], ['elsewhere', 'giveUp']);
    const closed = new Attempts();
    const idle = { ...DIED, reused: true };
    assert.deepEqual(
      [1, 2, 3, 4].map(() => closed.failed(idle)),
      ['repeat', 'repeat', 'elsewhere', 'giveUp'],
    );
  });

  it('is never more than three further times for a request that may have reached an engine', () => {
    const attempt = fc.record({
      kind: fc.constantFrom('lost', 'noConnection', 'closed', 'garbled', 'ended'),
      reused: fc.boolean(),
      received: fc.boolean(),
      replayable: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(attempt, { minLength: 4, maxLength: 12 }), (failures) => {
        const attempts = new Attempts();
        const sent = failures
          .filter(({ kind }) => kind !== 'noConnection')
          .map((failure) => attempts.failed(failure));
        assert.ok(sent.filter((verdict) => verdict !== 'giveUp').length <= 3);
      }),
    );
  });
});
