import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  autoscale,
  type Decision,
  type LoadMemory,
  type Look,
  NO_MEMORY,
} from '../../workflows/policy/autoscale.ts';

const START = 1_800_000_000_000;

function look(over: Partial<Look> & { min?: number; max?: number } = {}): Look {
  const { min = 1, max = 8, ...rest } = over;
  return {
    scaling: { minReplica: min, maxReplica: max, scaleToZeroTimeout: min === 0 ? 15 : null, measure: null },
    pending: 0,
    requests: null,
    startSeconds: null,
    inFlight: 0,
    hardwarePercent: null,
    lastRequestAt: null,
    readyReplica: 1,
    targetReplica: 1,
    startingReplica: 0,
    readySince: START,
    ...rest,
  };
}

interface Told extends Decision {
  afterS: number;
}

/**
 * Plays seconds of load against the policy: a decision is taken at once, a replica is ready `startS` later. Returns what
 * was decided and when.
 */
function play(
  seconds: number,
  pendingAt: (second: number) => number,
  over: Parameters<typeof look>[0] = {},
  startS = 5,
): Told[] {
  const told: Told[] = [];
  let memory: LoadMemory = NO_MEMORY;
  let target = over?.targetReplica ?? 1;
  let ready = over?.readyReplica ?? 1;
  const arriving: number[] = [];
  for (let s = 0; s < seconds; s += 1) {
    while (arriving[0] !== undefined && arriving[0] <= s) {
      arriving.shift();
      ready += 1;
    }
    const state = {
      ...look(over),
      pending: pendingAt(s),
      targetReplica: target,
      readyReplica: ready,
      startingReplica: target - ready,
    };
    const out = autoscale(memory, state, START + s * 1000);
    memory = out.memory;
    if (!out.decision) continue;
    told.push({ afterS: s, ...out.decision });
    for (let i = target; i < out.decision.replicas; i += 1) arriving.push(s + startS);
    target = out.decision.replicas;
    ready = Math.min(ready, target);
  }
  return told;
}

describe('policy: autoscale', () => {
  it('leaves alone what has as much as it needs', () => {
    assert.deepEqual(
      play(600, () => 1),
      [],
    );
  });

  it('follows a burst within seconds, to what it asks for', () => {
    const [first] = play(30, (s) => (s < 3 ? 0 : 12));
    assert.ok(first && first.afterS <= 9, JSON.stringify(first));
    const last = play(60, (s) => (s < 3 ? 0 : 12)).at(-1);
    assert.equal(last?.replicas, 8);
  });

  it('follows a slight excess only when it lasts', () => {
    assert.deepEqual(
      play(20, (s) => (s === 5 ? 2 : 1)),
      [],
    );
    const [first] = play(60, () => 2);
    assert.deepEqual([first?.replicas, (first?.afterS ?? 0) >= 10], [2, true]);
  });

  it('does not order again what is on its way', () => {
    const told = play(120, () => 6, { max: 8 }, 100);
    assert.equal(Math.max(...told.map((t) => t.replicas)), 4);
  });

  it('goes down only when five minutes have not needed it', () => {
    const told = play(700, (s) => (s < 60 ? 6 : 0), { readyReplica: 4, targetReplica: 4 });
    const down = told.find((t) => t.replicas < 4);
    assert.equal(told.at(-1)?.replicas, 1);
    assert.ok((down?.afterS ?? 0) >= 60 + 280, JSON.stringify(down));
  });

  it('goes down to what the highest demand of the five minutes needs', () => {
    const told = play(700, (s) => (s % 100 < 25 ? 3 : 0), { readyReplica: 6, targetReplica: 6 });
    assert.deepEqual(
      told.map((t) => t.replicas),
      [2],
    );
  });

  it('takes no replica away while one is starting', () => {
    const { decision } = autoscale(
      { ...NO_MEMORY, wanted: [{ at: START - 299_000, replicas: 1 }] },
      look({ readyReplica: 2, targetReplica: 3, startingReplica: 1 }),
      START,
    );
    assert.equal(decision, null);
  });

  it('sleeps after the idle time, counted from the last request or from becoming ready', () => {
    const idle = { min: 0, lastRequestAt: START - 60_000 };
    const at = (ms: number, over = {}) =>
      autoscale(NO_MEMORY, look({ ...idle, ...over }), START + ms).decision?.replicas;
    assert.equal(at(14 * 60_000 - 1), undefined);
    assert.equal(at(15 * 60_000 - 1), undefined);
    assert.equal(at(15 * 60_000), 0);
    assert.equal(at(15 * 60_000, { inFlight: 1 }), undefined);
    assert.equal(at(15 * 60_000, { pending: 1 }), undefined);
    assert.equal(at(15 * 60_000, { min: 1 }), undefined);
    assert.equal(at(15 * 60_000, { lastRequestAt: START + 60_000 }), undefined);
  });

  it('neither wakes an endpoint nor scales one that has nothing ready', () => {
    assert.equal(
      autoscale(NO_MEMORY, look({ targetReplica: 0, readyReplica: 0, pending: 50 }), START).decision,
      null,
    );
    assert.equal(
      autoscale(NO_MEMORY, look({ targetReplica: 1, readyReplica: 0, pending: 50 }), START).decision,
      null,
    );
  });

  it('goes by the use of CPUs where the endpoint says so, and by nothing while that is unknown', () => {
    const scaling = { ...look({ max: 8 }).scaling, measure: { hardwareUsage: 50 } };
    const busy = play(
      200,
      () => 0,
      { scaling, hardwarePercent: 75, readyReplica: 2, targetReplica: 2 },
      1000,
    );
    assert.deepEqual([busy[0]?.replicas, (busy[0]?.afterS ?? 0) >= 30], [3, true]);
    assert.match(busy[0]?.reason ?? '', /75 % of the hardware in use; the limit is 50 %/);
    assert.deepEqual(
      play(400, () => 50, { scaling, hardwarePercent: null, readyReplica: 2, targetReplica: 2 }),
      [],
    );
    const byDefault = { ...scaling, measure: { hardwareUsage: null } };
    assert.deepEqual(
      play(200, () => 0, { scaling: byDefault, hardwarePercent: 75, readyReplica: 2, targetReplica: 2 }),
      [],
    );
  });

  it('stays within the bounds and settles under any steady load', () => {
    const cases = fc.record({
      min: fc.integer({ min: 0, max: 3 }),
      extra: fc.integer({ min: 0, max: 6 }),
      load: fc.integer({ min: 0, max: 40 }),
      startS: fc.integer({ min: 0, max: 60 }),
    });
    fc.assert(
      fc.property(cases, ({ min, extra, load, startS }) => {
        const max = Math.max(1, min + extra);
        const first = Math.max(1, min);
        const told = play(
          900,
          () => load,
          { min, max, lastRequestAt: START + 900_000, readyReplica: first, targetReplica: first },
          startS,
        );
        for (const { replicas } of told)
          assert.ok(replicas >= Math.max(1, min) && replicas <= max, String(replicas));
        const wanted = Math.min(Math.max(Math.ceil(load / 1.5), 1, min), max);
        assert.equal(told.at(-1)?.replicas ?? first, wanted);
        assert.ok(
          told.every((t) => t.afterS < 400),
          'flaps',
        );
      }),
      { numRuns: 200 },
    );
  });
});
