import assert from 'node:assert/strict';
import { waitEstimate, whenToRetry } from '../../api/gateway/wait-estimate.ts';

describe('gateway: estimate of the wait', () => {
  const now = 1_000_000_000;
  const estimate = (startSeconds: number | null, startingSince: number | null, since = now) =>
    waitEstimate({ startSeconds, startingSince }, since, now);

  it('is what the last starts took, less the time the present one has been under way', () => {
    assert.equal(estimate(40, null), 40);
    assert.equal(estimate(40, null, now - 15_000), 25, 'since it was asked for, where nothing starts yet');
    assert.equal(estimate(40, now - 30_000, now), 10);
  });

  it('does not go to nothing for a start that is late', () => {
    assert.equal(estimate(40, now - 35_000), 8);
    assert.equal(estimate(40, now - 400_000), 8);
    assert.equal(estimate(0.4, now - 400_000), 1);
  });

  it('is never more than a whole start, also where the clock of the store is ahead', () => {
    assert.equal(estimate(40, now + 5000), 40);
  });

  it('is none before the first start, and asks for no longer a pause than clients obey', () => {
    assert.equal(estimate(null, now - 1000), null);
    assert.deepEqual(whenToRetry(null), {});
    assert.deepEqual(whenToRetry(12), { waitEstimateSeconds: 12, retryAfterSeconds: 12 });
    assert.deepEqual(whenToRetry(900), { waitEstimateSeconds: 900, retryAfterSeconds: 60 });
  });
});
