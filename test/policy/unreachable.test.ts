import assert from 'node:assert/strict';
import type { ReplicaView } from '../../spec/lifecycle.ts';
import { type Observed, plan } from '../../workflows/policy/plan.ts';
import { newReplica } from '../../workflows/policy/view.ts';
import { desired, NOW } from './examples.ts';
import { Simulation } from './simulation.ts';

function serving(number: number, over: Partial<ReplicaView> = {}): ReplicaView {
  return { ...newReplica(number, 1, NOW), stage: 'running', hostId: 'h', readyAt: NOW, ...over };
}
const lost = (number: number, over: Partial<ReplicaView> = {}) =>
  serving(number, { unreachable: true, ...over });
const starting = (number: number, over: Partial<ReplicaView> = {}) =>
  serving(number, { stage: 'initializing', readyAt: null, ...over });

/** What is there, how many are wanted → how many are started, who is stopped and why, state and ready replicas. */
const CASES: [string, Partial<Observed> & { max?: number }, string][] = [
  ['one is replaced and stays open', { replicas: [lost(1)], target: 1 }, 'start 1, stop none, pending 0'],
  [
    'no second one while the first is on its way',
    { replicas: [lost(1), starting(2)], target: 1 },
    'start 0, stop none, initializing 0',
  ],
  [
    'it goes when its replacement serves',
    { replicas: [lost(1), serving(2)], target: 1 },
    'start 0, stop 1 replaced, running 1',
  ],
  [
    'all of a lost host are replaced at once, whatever the maximum',
    { replicas: [lost(1), lost(2), lost(3)], target: 3, max: 3 },
    'start 3, stop none, pending 0',
  ],
  [
    'one goes for each that takes over',
    { replicas: [lost(1), lost(2), serving(3), starting(4)], target: 2, max: 2 },
    'start 0, stop 1 replaced, running 1',
  ],
  [
    'what is not needed any more goes without a replacement',
    { replicas: [lost(1), lost(2)], target: 1 },
    'start 1, stop 1 replaced, pending 0',
  ],
  [
    'back before its replacement is ready, it makes that one unneeded',
    { replicas: [serving(1), starting(2)], target: 1 },
    'start 0, stop 2 scaledDown, running 1',
  ],
  [
    'one whose end waits for its host counts for nothing',
    { replicas: [lost(1, { stage: 'stopping', stopping: true }), serving(2)], target: 1 },
    'start 0, stop none, running 1',
  ],
  [
    'of an older version, it goes first',
    {
      replicas: [lost(1, { revision: 2 }), lost(2), serving(3, { revision: 2 })],
      target: 2,
      max: 2,
    },
    'start 1, stop 2 replaced, running 1',
  ],
  [
    'asleep, it is stopped like any other, and is not the one that is kept',
    { replicas: [lost(1)], target: 0 },
    'start 0, stop 1 scaledToZero, scaledToZero 0',
  ],
];

describe('policy: replicas on hosts that do not answer', () => {
  for (const [title, { max, ...observed }, expected] of CASES)
    it(title, () => {
      const revision = Math.max(...(observed.replicas ?? []).map((r) => r.revision));
      const wish = desired({ maxReplica: max ?? 1, revision, standby: 'frozen' });
      const next = plan(wish, { replicas: [], target: 1, streak: null, ...observed }, NOW);
      const stops = next.stop.map(({ number, reason, standby }) =>
        [number, reason, standby].filter(Boolean).join(' '),
      );
      const { state, readyReplica } = next.projection;
      assert.equal(
        `start ${next.start}, stop ${stops.join(', ') || 'none'}, ${state} ${readyReplica}`,
        expected,
      );
    });

  it('are told of in words', () => {
    const say = (replicas: ReplicaView[]) =>
      plan(desired({ maxReplica: 3 }), { replicas, target: 2, streak: null }, NOW).projection.message;
    assert.match(
      say([lost(1), serving(2)]),
      /^Endpoint is ready; a replica is on a host that does not answer/,
    );
    assert.match(say([lost(1), lost(2)]), /2 replicas are on hosts that do not answer/);
    assert.doesNotMatch(say([serving(1), serving(2)]), /host/);
  });

  it('that wait for their host hold up neither a pause nor an update nor a deletion', () => {
    const waiting = lost(1, { stage: 'stopping', stopping: true });
    const paused = plan(desired({ phase: 'paused' }), { replicas: [waiting], target: 1, streak: null }, NOW);
    assert.deepEqual([paused.stop, paused.projection.message], [[], 'Endpoint is paused']);
    const blocked = starting(3, { revision: 2, stage: 'pending', blocked: true, stageSince: NOW - 60_000 });
    const update = plan(
      desired({ revision: 2 }),
      { replicas: [waiting, serving(2), blocked], target: 1, streak: null },
      NOW,
    );
    assert.deepEqual(update.stop, [{ number: 2, reason: 'superseded' }]);
    const deleted = plan(
      desired({ phase: 'deleted' }),
      { replicas: [waiting], target: 1, streak: null },
      NOW,
    );
    assert.deepEqual(deleted.stop, [{ number: 1, reason: 'deleted' }]);
  });

  it('are no failures of their version, and end no pause after one', () => {
    const world = new Simulation();
    world.settle();
    const [replica] = world.real;
    assert.ok(replica && world.memory);
    world.lose(replica);
    world.round();
    assert.equal(world.memory.streak, null);
    const failed = { code: 'CONTAINER_EXITED', message: 'no' } as const;
    const nextStartAt = world.now + 10_000;
    world.memory.streak = { revision: 1, count: 2, exhausted: false, nextStartAt, failure: failed };
    world.lose(replica);
    world.round();
    assert.equal(world.memory.streak?.nextStartAt, nextStartAt);
  });

  it('come back to what was, with no container more or less', () => {
    const world = new Simulation({ minReplica: 2, maxReplica: 2 });
    world.settle();
    const before = world.real.map((r) => r.number);
    for (const r of world.real) world.lose(r);
    world.round();
    for (const r of world.real) world.find(r);
    assert.ok(world.settle());
    assert.deepEqual([world.real.map((r) => r.number), world.projection?.state], [before, 'running']);
  });
});
