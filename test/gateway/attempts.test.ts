import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Attempts, type FailedAttempt } from '../../api/gateway/attempts.ts';

const DIED: FailedAttempt = {
  code: 'UND_ERR_SOCKET',
  started: true,
  reusedConnection: false,
  received: false,
  replayable: true,
};

describe('gateway: what follows a failed attempt', () => {
  for (const [what, change, verdict] of [
    ['no connection came about', { started: false, code: 'ECONNREFUSED' }, 'elsewhere'],
    ['connections were closed under it', { started: false, code: 'UND_ERR_CLOSED' }, 'repeat'],
    ['an idle connection was closed as it was sent', { reusedConnection: true }, 'repeat'],
    ['a replica died with it', {}, 'elsewhere'],
    ['the connection was reset', { code: 'ECONNRESET' }, 'elsewhere'],
    ['part of an answer had come', { received: true }, 'giveUp'],
    ['its body cannot be sent again', { replayable: false }, 'giveUp'],
    ['the engine took too long', { code: 'UND_ERR_HEADERS_TIMEOUT' }, 'giveUp'],
  ] as const) {
    it(`when ${what}: ${verdict}`, () => {
      assert.equal(new Attempts().failed({ ...DIED, ...change }), verdict);
    });
  }

  it('is the end after two replicas have died, and two repetitions', () => {
    const deaths = new Attempts();
    assert.deepEqual([deaths.failed(DIED), deaths.failed(DIED)], ['elsewhere', 'giveUp']);
    const closed = new Attempts();
    const idle = { ...DIED, reusedConnection: true };
    assert.deepEqual(
      [1, 2, 3, 4].map(() => closed.failed(idle)),
      ['repeat', 'repeat', 'elsewhere', 'giveUp'],
    );
  });

  it('is never more than three further times for a request that may have reached an engine', () => {
    const attempt = fc.record({
      code: fc.constantFrom(
        'UND_ERR_SOCKET',
        'ECONNRESET',
        'EPIPE',
        'UND_ERR_CLOSED',
        'UND_ERR_HEADERS_TIMEOUT',
      ),
      started: fc.boolean(),
      reusedConnection: fc.boolean(),
      received: fc.boolean(),
      replayable: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(attempt, { minLength: 4, maxLength: 12 }), (failures) => {
        const attempts = new Attempts();
        const sent = failures.filter(({ started }) => started).map((failure) => attempts.failed(failure));
        assert.ok(sent.filter((verdict) => verdict !== 'giveUp').length <= 3);
      }),
    );
  });
});
