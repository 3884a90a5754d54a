import assert from 'node:assert/strict';
import type { Projection } from '../../spec/lifecycle.ts';
import { newReplica } from '../../workflows/policy/view.ts';
import { endpointDetails, outcome, stateLine, summaryOf } from '../../workflows/words.ts';

describe('workflows: words for the Temporal UI', () => {
  const failed: Projection = {
    state: 'failed',
    message: 'Endpoint failed to start',
    errorMessage: 'BAD_ARGS: no such flag\n\nfirst line\n\nlast line',
    readyReplica: 0,
    targetReplica: 1,
    observedGeneration: 1,
  };

  it('a summary is one line of at most the 400 bytes that Temporal allows, whatever the script', () => {
    assert.equal(summaryOf('one\ntwo'), 'one');
    for (const letter of ['x', 'é', '模', '😀']) {
      const summary = summaryOf(letter.repeat(1000));
      assert.ok(Buffer.byteLength(JSON.stringify(summary)) <= 400, letter);
      assert.ok(summary.endsWith('…'));
    }
  });

  it('a state in one line has the cause, and no log', () => {
    assert.equal(stateLine(failed), 'failed: BAD_ARGS: no such flag');
    assert.equal(stateLine({ ...failed, errorMessage: null }), 'failed: Endpoint failed to start');
  });

  it('details separate every part by an empty line, which Markdown needs, and keep the log as it is', () => {
    const [state, counters, replicas, cause, log] = endpointDetails(failed, { generation: 3, revision: 2 }, [
      newReplica(1, 1, 0),
      { ...newReplica(2, 2, 0), hostId: 'h1' },
    ]).split(/\n\n(?!last line)/);
    assert.equal(state, '**failed**: Endpoint failed to start');
    assert.equal(counters, 'ready 0 of 1, generation 3, revision 2');
    assert.equal(replicas, '* replica 1, revision 1: pending\n* replica 2, revision 2: pending on h1');
    assert.equal(cause, '> BAD_ARGS: no such flag');
    assert.equal(log, '```\nfirst line\n\nlast line\n```');
  });

  it('an outcome says why', () => {
    assert.equal(outcome({ kind: 'stop', reason: 'paused' }), 'stopped: paused');
    assert.equal(
      outcome({ kind: 'failed', failure: { code: 'DISK_FULL', message: 'no room' } }),
      'failed: DISK_FULL: no room',
    );
  });
});
