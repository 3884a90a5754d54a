import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Failure } from '../../spec/errors.ts';
import type { Desired, ReplicaView } from '../../spec/lifecycle.ts';
import { isFinal } from '../../spec/states.ts';
import { countFailure, type FailureStreak } from '../../workflows/policy/failures.ts';
import { plan } from '../../workflows/policy/plan.ts';
import { desired, LIMITS, NOW, view } from './examples.ts';

const rules = (nextNumber: number | null) => ({ nextNumber, slowCrashes: true });

const exhausted: FailureStreak = {
  revision: 2,
  count: 3,
  exhausted: true,
  nextStartAt: NOW,
  failure: { code: 'CONTAINER_EXITED', message: 'exit 1', logTail: 'error: bad model' },
};

describe('policy: plan', () => {
  it('starts what is missing and says it is waiting', () => {
    const next = plan(desired({ maxReplica: 3 }), { replicas: [], target: 2, streak: null }, NOW);
    assert.equal(next.start, 2);
    assert.equal(next.projection.state, 'pending');
    assert.equal(next.projection.message, 'Endpoint waiting to be scheduled');
  });

  it('runs as soon as one replica is ready', () => {
    const replicas = [view(1, 'running'), view(2, 'initializing')];
    const next = plan(desired({ maxReplica: 2 }), { replicas, target: 2, streak: null }, NOW);
    assert.deepEqual(
      [next.start, next.stop, next.projection.state, next.projection.readyReplica],
      [0, [], 'running', 1],
    );
  });

  it('shows what a starting replica is doing', () => {
    const replicas = [view(1, 'downloading', { message: 'downloading 43 of 98 MB' })];
    const { projection } = plan(desired(), { replicas, target: 1, streak: null }, NOW);
    assert.deepEqual([projection.state, projection.message], ['initializing', 'downloading 43 of 98 MB']);
  });

  for (const [phase, target, state, reason] of [
    ['paused', 1, 'paused', 'paused'],
    ['running', 0, 'scaledToZero', 'scaledToZero'],
    ['deleted', 1, 'paused', 'deleted'],
  ] as const) {
    it(`stops every replica once when it is to be ${reason}`, () => {
      const replicas = [view(1, 'running'), view(2, 'downloading'), view(3, 'draining', { stopping: true })];
      const next = plan(desired({ phase }), { replicas, target, streak: null }, NOW);
      assert.deepEqual(next.stop, [
        { number: 1, reason },
        { number: 2, reason },
      ]);
      assert.deepEqual([next.start, next.projection.state, next.projection.targetReplica], [0, state, 0]);
    });
  }

  it('surges one replica of a new revision and keeps the old one serving', () => {
    const next = plan(
      desired({ revision: 2 }),
      { replicas: [view(1, 'running')], target: 1, streak: null },
      NOW,
    );
    assert.deepEqual([next.start, next.stop, next.projection.state], [1, [], 'updating']);
  });

  it('retires an old replica only when a new one is ready', () => {
    const replicas = [view(1, 'running'), view(2, 'running', { revision: 2 })];
    const next = plan(desired({ revision: 2 }), { replicas, target: 1, streak: null }, NOW);
    assert.deepEqual(next.stop, [{ number: 1, reason: 'superseded' }]);
  });

  it('gives up an old replica when a new one finds no room for a while', () => {
    const replicas = [view(1, 'running'), view(2, 'pending', { revision: 2, blocked: true })];
    const early = plan(desired({ revision: 2 }), { replicas, target: 1, streak: null }, NOW + 1000);
    assert.deepEqual([early.stop, early.wakeAt], [[], NOW + 3000]);
    const late = plan(desired({ revision: 2 }), { replicas, target: 1, streak: null }, NOW + 3000);
    assert.deepEqual(late.stop, [{ number: 1, reason: 'superseded' }]);
  });

  describe('of a revision that fits on no host', () => {
    const waiting = { revision: 2, blocked: true, fitsNowhere: true, message: 'waiting for a larger host' };
    const update = (replicas: ReplicaView[]) =>
      plan(desired({ revision: 2 }), { replicas, target: 1, streak: null, stable: 1 }, NOW + 60_000);

    it('keeps the old replica, and says what the new one waits for', () => {
      const next = update([view(1, 'running'), view(2, 'pending', waiting)]);
      assert.deepEqual([next.start, next.stop, next.madeRoomFor, next.wakeAt], [0, [], null, null]);
      const { state, message, errorMessage, readyReplica } = next.projection;
      assert.deepEqual([state, errorMessage, readyReplica], ['updateFailed', waiting.message, 1]);
      assert.equal(message, 'Update fits on no host, and waits for one; the previous version serves on');
    });

    it('starts the revision before again when its replica is lost', () => {
      const next = update([view(2, 'pending', waiting)]);
      assert.deepEqual([next.start, next.revision, next.stop], [1, 1, []]);
    });

    it('goes on with the update once a host is large enough', () => {
      const next = update([view(1, 'running'), view(2, 'initializing', { revision: 2 })]);
      assert.deepEqual([next.start, next.stop, next.projection.state], [0, [], 'updating']);
    });

    it('waits with the words of its replica when nothing served before', () => {
      const { start, projection } = plan(
        desired(),
        {
          replicas: [view(1, 'pending', { ...waiting, revision: 1 })],
          target: 1,
          streak: null,
          stable: null,
        },
        NOW,
      );
      assert.deepEqual([start, projection.state, projection.message], [0, 'pending', waiting.message]);
    });
  });

  it('keeps the old revision when the new one cannot start, and says why', () => {
    const next = plan(
      desired({ revision: 2 }),
      { replicas: [view(1, 'running')], target: 1, streak: exhausted },
      NOW,
    );
    assert.deepEqual([next.start, next.stop, next.projection.state], [0, [], 'updateFailed']);
    assert.match(next.projection.errorMessage ?? '', /CONTAINER_EXITED: exit 1\n\nerror: bad model/);
  });

  it('fails with the cause when nothing serves', () => {
    const next = plan(desired({ revision: 2 }), { replicas: [], target: 1, streak: exhausted }, NOW);
    assert.deepEqual([next.start, next.projection.state], [0, 'failed']);
  });

  it('waits out the delay after a failed start', () => {
    const streak = { ...exhausted, revision: 1, count: 1, exhausted: false, nextStartAt: NOW + 2000 };
    const next = plan(desired(), { replicas: [], target: 1, streak }, NOW);
    assert.deepEqual([next.start, next.wakeAt, next.projection.state], [0, NOW + 2000, 'initializing']);
    assert.equal(plan(desired(), { replicas: [], target: 1, streak }, NOW + 2000).start, 1);
  });

  it('converges from any state, never above the maximum plus one, never giving up a ready replica it needs', () => {
    fc.assert(fc.property(scenario, converges), { numRuns: 2000 });
  });

  describe('a container kept at zero', () => {
    const asleep = (over: Partial<Desired>, ...replicas: ReplicaView[]) =>
      plan(desired({ minReplica: 0, maxReplica: 3, ...over }), { replicas, target: 0, streak: null }, NOW);
    const awake = (over: Partial<Desired>, target: number, ...replicas: ReplicaView[]) =>
      plan(desired({ minReplica: 0, maxReplica: 3, ...over }), { replicas, target, streak: null }, NOW);

    it('is that of one replica that serves; the others stop', () => {
      const { stop, projection } = asleep(
        { standby: 'frozen' },
        view(1, 'initializing'),
        view(2, 'running'),
        view(3, 'running'),
      );
      assert.deepEqual(stop, [
        { number: 1, reason: 'scaledToZero' },
        { number: 3, reason: 'scaledToZero' },
        { number: 2, reason: 'scaledToZero', standby: 'frozen' },
      ]);
      assert.match(projection.message, /stopping 3 replicas/);
    });

    it('is left alone once it rests, and said', () => {
      const { stop, projection } = asleep({ standby: 'frozen' }, view(2, 'standby', { resting: 'frozen' }));
      assert.deepEqual(stop, []);
      assert.equal(
        projection.message,
        'Endpoint is scaled to zero: the next request wakes it; its container is kept frozen',
      );
    });

    for (const [why, over, rest] of [
      ['an update', { standby: 'frozen', revision: 2 }, 'frozen'],
      ['standby is switched off', {}, 'frozen'],
      ['standby is another', { standby: 'stopped' }, 'frozen'],
    ] as const)
      it(`goes when ${why} while it rests`, () => {
        const { stop } = asleep(over, view(2, 'standby', { resting: rest }));
        assert.deepEqual(stop, [{ number: 2, reason: 'scaledToZero' }]);
      });

    for (const phase of ['paused', 'deleted'] as const)
      it(`goes when the endpoint is ${phase}`, () => {
        const { stop } = asleep({ phase, standby: 'frozen' }, view(2, 'standby', { resting: 'frozen' }));
        assert.deepEqual(stop, [{ number: 2, reason: phase }]);
      });

    it('wakes before anything is started, also on its way to rest', () => {
      for (const stage of ['standby', 'draining', 'running'] as const) {
        const next = awake({ standby: 'frozen' }, 2, view(4, stage, { resting: 'frozen' }));
        assert.deepEqual([next.wake, next.start, next.stop], [[4], 1, []]);
      }
    });

    it('is not woken for another revision, nor kept once it is not needed', () => {
      const replaced = awake(
        { standby: 'frozen', revision: 2 },
        1,
        view(4, 'standby', { resting: 'frozen' }),
      );
      assert.deepEqual([replaced.wake, replaced.start], [[], 1]);
      assert.deepEqual(replaced.stop, [{ number: 4, reason: 'superseded' }]);
      const surplus = awake({}, 1, view(4, 'standby', { resting: 'stopped' }), view(5, 'running'));
      assert.deepEqual(
        [surplus.wake, surplus.start, surplus.stop],
        [[], 0, [{ number: 4, reason: 'scaledDown' }]],
      );
    });

    it('counts as on its way while it wakes', () => {
      const next = awake({ standby: 'frozen' }, 1, view(4, 'initializing', { message: 'waking' }));
      assert.deepEqual([next.wake, next.start, next.stop], [[], 0, []]);
      assert.deepEqual([next.projection.state, next.projection.message], ['initializing', 'waking']);
    });
  });
});

describe('policy: failures', () => {
  const failed = (readyAt: number | null) => view(1, 'failed', { readyAt });

  it('ends the streak at once when the cause will not go away by itself', () => {
    const failure = { code: 'BAD_ARGS', message: '' } as const;
    assert.equal(countFailure(null, failed(null), failure, LIMITS, NOW, rules(2)).exhausted, true);
  });

  it('doubles the delay of failed starts up to its cap and then gives up', () => {
    const failure = { code: 'UNKNOWN', message: '' } as const;
    const limits = { ...LIMITS, maxStartFailures: 8 };
    let streak: FailureStreak | null = null;
    const delays = [];
    for (let i = 0; i < 8; i += 1) {
      streak = countFailure(streak, failed(null), failure, limits, NOW, rules(2));
      delays.push(streak.nextStartAt - NOW);
    }
    assert.deepEqual(delays, [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    assert.equal(streak?.exhausted, true);
  });

  it('replaces a serving replica at once, and slows down when it keeps dying young', () => {
    const failure = { code: 'CONTAINER_EXITED', message: '' } as const;
    const first = countFailure(null, failed(NOW - 1000), failure, LIMITS, NOW, rules(2));
    assert.deepEqual([first.exhausted, first.nextStartAt], [false, NOW]);
    const second = countFailure(first, failed(NOW - 1000), failure, LIMITS, NOW, rules(2));
    assert.equal(second.nextStartAt, NOW + 4000);
    const third = countFailure(second, failed(NOW - 1000), failure, LIMITS, NOW, rules(2));
    assert.equal(third.exhausted, true);
  });

  describe('a cause that one more start may cure', () => {
    const busy = { code: 'GPU_BUSY', message: '' } as const;
    const shared = { code: 'NCCL_SHM', message: '' } as const;
    const limits = { ...LIMITS, maxStartFailures: 9 };

    it('a GPU in use is looked at once more a minute later, and is final then', () => {
      const first = countFailure(null, failed(null), busy, limits, NOW, rules(2));
      assert.deepEqual([first.exhausted, first.nextStartAt - NOW], [false, 60_000]);
      const second = countFailure(first, { ...failed(null), number: 2 }, busy, limits, NOW, rules(3));
      assert.equal(second.exhausted, true);
    });

    it('a lack of shared memory is met with more of it once, which the status says', () => {
      const streak = countFailure(null, failed(null), shared, limits, NOW, rules(2));
      const at = (...replicas: ReplicaView[]) => {
        const { projection } = plan(desired(), { replicas, target: 1, streak }, NOW + 1);
        return [projection.state, projection.message];
      };
      assert.deepEqual(at(), ['initializing', 'Start 1 failed; trying again in 2 s with more shared memory']);
      const starting = view(2, 'initializing', { message: 'starting engine' });
      const retry = plan(desired(), { replicas: [starting], target: 1, streak }, NOW + 2000);
      assert.equal(retry.projection.message, 'starting engine with more shared memory');
      const second = countFailure(streak, { ...failed(null), number: 2 }, shared, limits, NOW, rules(3));
      assert.equal(second.exhausted, true);
    });

    it('a sibling that was on its way meanwhile is not that start; another cause between does not renew it', () => {
      const fails = (streak: FailureStreak, number: number, failure: Failure, next: number) =>
        countFailure(streak, { ...failed(null), number }, failure, limits, NOW, rules(next));
      const first = countFailure(null, failed(null), busy, limits, NOW, rules(3));
      const sibling = fails(first, 2, busy, 3);
      assert.equal(sibling.exhausted, false);
      const between = fails(sibling, 3, { code: 'UNKNOWN', message: '' }, 4);
      assert.equal(between.exhausted, false);
      assert.equal(fails(between, 4, busy, 5).exhausted, true);
      const minuteOfService = { ...failed(NOW - 60_000), number: 4 };
      const anew = countFailure(between, minuteOfService, busy, limits, NOW, rules(5));
      assert.deepEqual([anew.exhausted, anew.count], [false, 1]);
    });

    it('was something that passes in versions without the rule', () => {
      let streak: FailureStreak | null = null;
      for (let i = 0; i < 3; i += 1)
        streak = countFailure(streak, failed(null), busy, limits, NOW, rules(null));
      assert.deepEqual([streak?.exhausted, (streak?.nextStartAt ?? 0) - NOW], [false, 8000]);
    });
  });

  it('does not hold a lost host against the revision', () => {
    const failure = { code: 'HOST_LOST', message: '' } as const;
    let streak = countFailure(null, failed(null), failure, LIMITS, NOW, rules(2));
    for (let i = 0; i < 10; i += 1)
      streak = countFailure(streak, failed(null), failure, LIMITS, NOW, rules(2));
    assert.deepEqual(
      [streak.count, streak.exhausted, streak.nextStartAt - NOW],
      [0, false, LIMITS.retryBaseMs],
    );
  });

  it('forgets failures of a replica that had served for a minute', () => {
    const failure = { code: 'CONTAINER_EXITED', message: '' } as const;
    const before = { ...exhausted, revision: 1, count: 2, exhausted: false };
    assert.equal(countFailure(before, failed(NOW - 60_000), failure, LIMITS, NOW, rules(2)).count, 1);
  });

  describe('replicas that each serve for minutes before they die', () => {
    const failure = { code: 'CONTAINER_EXITED', message: '' } as const;
    const die = (streak: FailureStreak | null, servedMs: number, slowCrashes = true) =>
      countFailure(streak, failed(NOW - servedMs), failure, LIMITS, NOW, { nextNumber: 2, slowCrashes });

    it('are replaced ever later, and never given up', () => {
      let streak: FailureStreak | null = null;
      const delays: number[] = [];
      for (let i = 0; i < 8; i += 1) {
        streak = die(streak, 70_000);
        assert.deepEqual([streak.count, streak.exhausted], [1, false]);
        delays.push(streak.nextStartAt - NOW);
      }
      assert.deepEqual(delays, [0, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
      const { projection } = plan(desired(), { replicas: [], target: 1, streak }, NOW);
      assert.match(projection.message, /^8 replicas in a row have died.*trying again in 60 s/);
    });

    it('are given up only for deaths within a minute', () => {
      let streak = die(die(null, 70_000), 70_000);
      for (let i = 2; i <= LIMITS.maxStartFailures; i += 1) {
        streak = die(streak, 1000);
        assert.deepEqual([streak.count, streak.exhausted], [i, i === LIMITS.maxStartFailures]);
      }
    });

    it('begin anew after ten minutes of service, and in versions without the rule after one', () => {
      const many = die(die(die(null, 70_000), 70_000), 70_000);
      assert.equal(die(many, 600_000).nextStartAt, NOW);
      assert.equal(die(many, 70_000, false).nextStartAt, NOW);
    });
  });
});

interface Scenario {
  max: number;
  target: number;
  capacity: number;
  old: number;
}

const scenario: fc.Arbitrary<Scenario> = fc
  .record({
    max: fc.integer({ min: 1, max: 4 }),
    old: fc.integer({ min: 0, max: 4 }),
    spareRoom: fc.integer({ min: 0, max: 2 }),
  })
  .chain(({ max, old, spareRoom }) =>
    fc.record({
      max: fc.constant(max),
      target: fc.integer({ min: 1, max }),
      old: fc.constant(Math.min(old, max)),
      capacity: fc.constant(Math.max(max, old) + spareRoom),
    }),
  );

/** Plays a world in which every step a plan asks for succeeds after a while, as far as there is room. */
function converges({ max, target, capacity, old }: Scenario): void {
  const wish = desired({ revision: 2, minReplica: 1, maxReplica: max });
  let now = NOW;
  let number = old;
  let replicas: ReplicaView[] = Array.from({ length: old }, (_, i) => view(i + 1, 'running'));
  for (let round = 0; round < 100; round += 1) {
    now += 1000;
    const readyBefore = replicas.filter((r) => r.stage === 'running' && !r.stopping).length;
    const starving = replicas.some((r) => r.blocked);
    const next = plan(wish, { replicas, target, streak: null }, now);
    for (const s of next.stop) {
      const r = replicas.find((x) => x.number === s.number);
      assert.ok(r && !r.stopping, 'stops only what is there, once');
      r.stopping = true;
    }
    for (let i = 0; i < next.start; i += 1) {
      number += 1;
      replicas.push(view(number, 'pending', { revision: 2, stageSince: now }));
    }
    const alive = replicas.filter((r) => !isFinal(r.stage));
    assert.ok(alive.length <= Math.max(max + 1, old), `${alive.length} alive, maximum ${max}`);
    const readyAfter = replicas.filter((r) => r.stage === 'running' && !r.stopping).length;
    if (!starving) assert.ok(readyAfter >= Math.min(target, readyBefore), 'gave up a replica that is needed');

    // The world moves: stopping ones end; starting ones get ready where there is room.
    replicas = replicas.filter((r) => !r.stopping);
    let room = capacity - replicas.filter((r) => !r.blocked && r.stage !== 'pending').length;
    for (const r of replicas) {
      if (r.stage !== 'pending') continue;
      if (room > 0) {
        room -= 1;
        Object.assign(r, { stage: 'running', blocked: false, readyAt: now });
      } else r.blocked = true;
    }
    const settled =
      replicas.length === target && replicas.every((r) => r.revision === 2 && r.stage === 'running');
    if (settled && plan(wish, { replicas, target, streak: null }, now).start === 0) return;
  }
  assert.fail(`not settled: ${JSON.stringify(replicas)}`);
}
