import assert from 'node:assert/strict';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { failureToApplicationFailure, toApplicationFailure } from '../../activities/failures.ts';
import { EndpointsError } from '../../spec/errors.ts';

describe('how a failure leaves an activity', () => {
  it('code, message and whether trying again helps', () => {
    const gated = toApplicationFailure(new EndpointsError('HUB_GATED', 'ask for access'));
    assert.equal(gated.type, 'HUB_GATED');
    assert.equal(gated.message, 'ask for access');
    assert.equal(gated.nonRetryable, true);
    assert.deepEqual(gated.details, [{ code: 'HUB_GATED', message: 'ask for access' }]);
    assert.equal(toApplicationFailure(new EndpointsError('HUB_UNREACHABLE', 'down')).nonRetryable, false);
  });

  it('exit code and log tail go along', () => {
    const failure = { code: 'CONTAINER_EXITED', message: 'ended', exitCode: 1, logTail: 'boom' } as const;
    assert.deepEqual(failureToApplicationFailure(failure).details, [failure]);
  });

  it('an unexpected error is INTERNAL, and its cause, which may hold a signed address, stays behind', () => {
    const failure = toApplicationFailure(new Error('broken', { cause: new Error('https://x/?signature=s') }));
    assert.equal(failure.type, 'INTERNAL');
    assert.equal(failure.nonRetryable, false);
    assert.equal(failure.cause, undefined);
  });

  it('what is an activity failure already stays as it is', () => {
    const failure = ApplicationFailure.nonRetryable('m', 'T');
    assert.equal(toApplicationFailure(failure), failure);
  });

  it('a cancellation goes on as one', () => {
    for (const cancellation of [new CancelledFailure('CANCELLED'), new DOMException('stop', 'AbortError')])
      assert.throws(
        () => toApplicationFailure(cancellation),
        (error) => error === cancellation,
      );
  });
});
