import assert from 'node:assert/strict';
import { autoscale, type LoadMemory, type Look, NO_MEMORY } from '../../workflows/policy/autoscale.ts';
import { enough, type Flow, learnCapacity } from '../../workflows/policy/capacity.ts';

const START = 1_800_000_000_000;

/** So many seconds of steady arrivals and answers. */
function flow(seconds: number, arrival: number, answered: number, { ready = 1, pending = 10 } = {}): Flow[] {
  return Array.from({ length: seconds + 1 }, (_, s) => ({
    at: START + s * 1000,
    pending: pending + s * (arrival - answered),
    requests: s * arrival,
    ready,
  }));
}

describe('policy: what replicas can do', () => {
  it('is learned from seconds in which all had enough to do', () => {
    assert.equal(learnCapacity(null, flow(8, 6, 4, { ready: 2 }), 1.5), 2);
    assert.equal(learnCapacity(1, flow(8, 6, 4, { ready: 2 }), 1.5), 1.2);
  });

  it('is not learned from an idle second, too short a look, or when nothing was answered', () => {
    assert.equal(learnCapacity(3, flow(8, 1, 1, { pending: 1 }), 1.5), 3);
    assert.equal(learnCapacity(3, flow(3, 6, 4), 1.5), 3);
    assert.equal(learnCapacity(null, flow(8, 6, 0), 1.5), null);
  });

  it('says how many are enough: for what arrives, and for what of the queue is left when they are ready', () => {
    const now = START + 8000;
    const ahead = { each: 2, starting: 0, startSeconds: 10, othersReadyAt: 0, now };
    // 8 a second by 2 each and a fifth more; 10 + 6 · 8 wait, 6 a second more for 10 s, and 10 s to be rid of them.
    assert.equal(enough(flow(8, 8, 2), ahead), Math.ceil((8 * 1.2) / 2 + (58 + 60) / (2 * 10)));
    // Three more, ready in 2 s, will have answered 2 · 2 + 8 · 8 by then.
    const helped = enough(flow(8, 8, 2), { ...ahead, starting: 3, othersReadyAt: now + 2000 });
    assert.equal(helped, Math.ceil((8 * 1.2) / 2 + (58 + 80 - 2 * 2 - 8 * 8) / (2 * 10)));
    assert.equal(enough(flow(1, 8, 2), ahead), null);
  });

  it('counts a burst that has just begun in full', () => {
    const quiet = flow(5, 1, 1, { pending: 1 });
    const burst = flow(5, 9, 2).map((f) => ({ ...f, at: f.at + 6000, requests: 5 + f.requests }));
    const ahead = { each: 2, starting: 0, startSeconds: 1, othersReadyAt: 0, now: START + 11_000 };
    assert.ok((enough([...quiet, ...burst], ahead) ?? 0) >= Math.ceil((9 * 1.2) / 2));
  });
});

describe('policy: autoscale with what it has learned', () => {
  /** Ten requests a second, two answered by each replica; a replica is ready after two minutes. */
  function play(startSeconds: number | null): number[] {
    let memory: LoadMemory = NO_MEMORY;
    let [target, pending, requests] = [2, 3, 0];
    const arriving: number[] = [];
    const targets: number[] = [];
    for (let s = 0; s < 110; s += 1) {
      const ready = 2 + arriving.filter((at) => at <= s).length;
      const arrival = s < 10 ? 4 : 8;
      requests += arrival;
      pending = Math.max(3, pending + arrival - 2 * ready);
      const look: Look = {
        scaling: { minReplica: 1, maxReplica: 100, scaleToZeroTimeout: null, measure: null },
        pending,
        requests,
        inFlight: 0,
        hardwarePercent: null,
        lastRequestAt: null,
        readyReplica: ready,
        targetReplica: target,
        startingReplica: target - ready,
        readySince: 0,
        startSeconds,
      };
      const next = autoscale(memory, look, START + s * 1000);
      memory = next.memory;
      const wanted = next.decision?.replicas ?? target;
      for (let i = target; i < wanted; i += 1) arriving.push(s + 120);
      target = Math.max(target, wanted);
      targets.push(target);
    }
    return targets;
  }

  it('does not order for the queue that grows while replicas are on their way', () => {
    assert.ok((play(null).at(-1) ?? 0) >= 100);
    const ordered = play(120).at(-1) ?? 0;
    assert.ok(ordered >= 5 && ordered <= 20, String(ordered));
  });

  it('keeps what is not needed as long as it would be missed: three start times, within 50 s and 5 min', () => {
    const downAt = (startSeconds: number | null) => {
      let memory: LoadMemory = NO_MEMORY;
      for (let s = 0; s < 400; s += 1) {
        const look: Look = {
          scaling: { minReplica: 1, maxReplica: 8, scaleToZeroTimeout: null, measure: null },
          ...{ pending: 0, requests: 0, inFlight: 0, hardwarePercent: null, lastRequestAt: null },
          ...{ readyReplica: 4, targetReplica: 4, startingReplica: 0, readySince: 0, startSeconds },
        };
        const next = autoscale(memory, look, START + s * 1000);
        memory = next.memory;
        if (next.decision) return s;
      }
      return null;
    };
    assert.deepEqual([5, 40, 1000, null].map(downAt), [44, 114, 294, 294]);
  });
});
