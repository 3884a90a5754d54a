import assert from 'node:assert/strict';
import type { ProbeOutcome } from '../../activities/health/probe.ts';
import { afterProbe, isLost, type Silence } from '../../worker/agent/silence.ts';

const ROUND_MS = 5000;
const refused: ProbeOutcome = { kind: 'refused' };
const timeout: ProbeOutcome = { kind: 'timeout', timeoutMs: 5000 };
const ok: ProbeOutcome = { kind: 'ok' };

/** After how many ms the answers of one probe a round make the replica lost; null if they do not. */
function lostAfter(answers: [ProbeOutcome, boolean][]): number | null {
  let silence: Silence | null = null;
  for (const [round, [outcome, busy]] of answers.entries()) {
    const now = round * ROUND_MS;
    silence = afterProbe(silence, outcome, { now, busy });
    if (silence && isLost(silence, now, ROUND_MS)) return now;
  }
  return null;
}
const times = (count: number, outcome: ProbeOutcome, busy = false): [ProbeOutcome, boolean][] =>
  Array.from({ length: count }, () => [outcome, busy]);

describe('agent: when a silent replica is lost', () => {
  it('not while it answers', () => assert.equal(lostAfter(times(100, ok)), null));

  it('after 15 s of refusals', () => assert.equal(lostAfter(times(10, refused)), 15_000));

  it('after 15 s of answers that are no good', () =>
    assert.equal(lostAfter(times(10, { kind: 'status', status: 503, said: '' })), 15_000));

  it('after 15 s of silence without computing', () => assert.equal(lostAfter(times(10, timeout)), 15_000));

  it('not when one good answer comes in between', () =>
    assert.equal(lostAfter([...times(3, refused), [ok, false], ...times(3, refused)]), null));

  it('not for minutes while it computes, as an overloaded engine does', () =>
    assert.equal(lostAfter(times(59, timeout, true)), null));

  it('in the end also when it computes for ever', () =>
    assert.equal(lostAfter(times(100, timeout, true)), 300_000));

  it('15 s after it stopped computing', () =>
    assert.equal(lostAfter([...times(10, timeout, true), ...times(10, timeout)]), 65_000));

  it('also when it computes, if it refuses', () => assert.equal(lostAfter(times(10, refused, true)), 15_000));
});
