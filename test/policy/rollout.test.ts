import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { EndpointsError } from '../../spec/errors.ts';
import type { Desired, ReplicaView } from '../../spec/lifecycle.ts';
import { bakeOf, checkBake } from '../../spec/rollout.ts';
import type { ReplicaStage } from '../../spec/states.ts';
import { adopt, carryOut, type EndpointMemory, hear } from '../../workflows/policy/memory.ts';
import { plan } from '../../workflows/policy/plan.ts';
import { desired as example, view as exampleView, NOW } from './examples.ts';

const BAKE = { seconds: 60, requests: 500, maxErrorPercent: 5 };
const FAILURE = {
  code: 'ENGINE_ERRORS',
  message: 'revision 2 answered with errors',
  logTail: 'boom',
} as const;

const ON_TRIAL = { stable: 1, approved: null, rejected: null };
const APPROVED = { stable: 1, approved: 2, rejected: null };
const ROLLED_BACK = { stable: 1, approved: null, rejected: { revision: 2, failure: FAILURE } };

const desired = (over: Partial<Desired> = {}) =>
  example({ generation: 2, revision: 2, maxReplica: 3, bake: BAKE, ...over });

const view = (number: number, revision: number, stage: ReplicaStage = 'running') =>
  exampleView(number, stage, { revision });

/** Which revision how many replicas of are started, and who stops. */
function steps(wish: Desired, replicas: ReplicaView[], target: number, known: object) {
  const { start, revision, stop } = plan(wish, { replicas, target, streak: null, ...known }, NOW);
  return { start: start > 0 ? { [revision]: start } : {}, stop: stop.map((r) => `${r.number} ${r.reason}`) };
}

describe('policy: a rollout on trial', () => {
  it('starts one replica of the new revision and keeps every old one until there is a verdict', () => {
    const old = [view(1, 1), view(2, 1), view(3, 1)];
    assert.deepEqual(steps(desired(), old, 3, ON_TRIAL), { start: { 2: 1 }, stop: [] });
    const both = [...old, view(4, 2)];
    assert.deepEqual(steps(desired(), both, 3, ON_TRIAL), { start: {}, stop: [] });
    const { projection } = plan(desired(), { replicas: both, target: 3, streak: null, ...ON_TRIAL }, NOW);
    assert.equal(projection.state, 'updating');
    assert.match(projection.message, /its first replica is watched for 60 s/);
    assert.deepEqual(steps(desired(), both, 3, APPROVED), { start: {}, stop: ['1 superseded'] });
  });

  it('makes up for old replicas that die, and for more load, with the old revision', () => {
    const replicas = [view(1, 1), view(4, 2)];
    assert.deepEqual(steps(desired(), replicas, 3, ON_TRIAL), { start: { 1: 1 }, stop: [] });
    const starting = [...replicas, view(5, 1, 'initializing')];
    assert.deepEqual(steps(desired(), starting, 3, ON_TRIAL), { start: {}, stop: [] });
  });

  it('takes the room of an old one where there is no other', () => {
    const blocked = { ...view(2, 2, 'pending'), blocked: true, stageSince: NOW - 3000 };
    assert.deepEqual(steps(desired(), [view(1, 1), blocked], 1, ON_TRIAL), {
      start: {},
      stop: ['1 superseded'],
    });
  });

  it('is none where nothing old serves: it begins with all replicas, and is watched while it runs', () => {
    assert.deepEqual(steps(desired(), [], 3, ON_TRIAL), { start: { 2: 3 }, stop: [] });
    const observed = { replicas: [view(4, 2)], target: 1, streak: null, ...ON_TRIAL };
    const { projection, proven } = plan(desired(), observed, NOW);
    assert.deepEqual([projection.state, proven], ['running', null]);
    assert.match(projection.message, /its new revision is watched for 60 s/);
  });

  it('rolled back, is given up at once, and the old revision is kept at its number', () => {
    const replicas = [view(1, 1), view(2, 1), view(4, 2)];
    const { stop, projection } = plan(desired(), { replicas, target: 2, streak: null, ...ROLLED_BACK }, NOW);
    assert.deepEqual(stop, [{ number: 4, reason: 'rolledBack', failure: FAILURE }]);
    assert.equal(projection.state, 'updateFailed');
    assert.match(projection.message, /rolled back/);
    assert.equal(projection.errorMessage, `ENGINE_ERRORS: ${FAILURE.message}\n\nboom`);
    assert.deepEqual(steps(desired(), [view(1, 1)], 2, ROLLED_BACK), { start: { 1: 1 }, stop: [] });
  });

  it('rolled back where nothing old is left, serves on until the old revision is back', () => {
    const bad = view(4, 2);
    assert.deepEqual(steps(desired(), [bad], 1, ROLLED_BACK), { start: { 1: 1 }, stop: [] });
    assert.deepEqual(steps(desired(), [bad, view(5, 1)], 1, ROLLED_BACK).stop, ['4 rolledBack']);
  });

  it('superseded, leaves before the old revision does', () => {
    const third = desired({ revision: 3, generation: 3 });
    const waiting = [view(1, 1), view(2, 2)];
    assert.deepEqual(steps(third, waiting, 1, ON_TRIAL), { start: {}, stop: ['2 superseded'] });
  });

  it('never has more than the maximum and one, nor fewer ready than before, whatever the verdict', () => {
    const scenario = fc.record({
      target: fc.integer({ min: 1, max: 4 }),
      verdictAt: fc.integer({ min: 0, max: 12 }),
      good: fc.boolean(),
      deaths: fc.array(fc.nat(40), { maxLength: 3 }),
    });
    fc.assert(fc.property(scenario, rollsOut), { numRuns: 1000 });
  });
});

describe('policy: what is known of revisions', () => {
  const began = { ...adopt(null, desired({ revision: 1, generation: 1 })), stable: 1 };
  const updated = adopt(began, desired());
  const say = (memory: EndpointMemory, failure: typeof FAILURE | null, revision = 2) =>
    hear(
      memory,
      desired(),
      {
        woken: false,
        asked: null,
        views: [],
        verdict: { revision, failure },
        retriesOnce: true,
        slowCrashes: true,
      },
      NOW,
    );

  it('is what the verdict says of the wanted revision, and of no other', () => {
    assert.equal(say(updated, null).approved, 2);
    assert.equal(say(updated, FAILURE).rejected?.revision, 2);
    assert.deepEqual(say(updated, FAILURE, 3), updated);
  });

  it('is tried again after any write but a forced sleep', () => {
    const rejected = say(updated, FAILURE);
    assert.equal(adopt(rejected, desired({ generation: 3 })).rejected, null);
    assert.ok(adopt(rejected, desired({ generation: 3, sleepGeneration: 3 })).rejected);
    assert.ok(adopt(rejected, desired()).rejected);
  });

  it('holds failures of the revision that serves again against that one, not against the one rolled back', () => {
    const failed = { ...view(1, 1, 'failed'), failure: { code: 'UNKNOWN', message: 'killed' } as const };
    const rejected = { ...say(updated, FAILURE), replicas: [view(1, 1), view(2, 2)] };
    const news = { woken: false, asked: null, views: [failed], retriesOnce: true, slowCrashes: true };
    const heard = hear(rejected, desired(), news, NOW);
    assert.deepEqual([heard.stableStreak?.revision, heard.streak], [1, null]);
  });
});

describe('policy: how a revision is watched', () => {
  const site = BAKE;

  it('is for the site to say, and for the endpoint to say otherwise', () => {
    assert.deepEqual(bakeOf({}, site), site);
    assert.deepEqual(bakeOf({ bake: { seconds: 5 } }, site), { ...site, seconds: 5 });
    assert.equal(bakeOf({ bake: { seconds: 0 } }, site), null);
    assert.deepEqual(bakeOf({ bake: { seconds: 5 } }, { ...site, seconds: 0 }), { ...site, seconds: 5 });
  });

  it('is refused by its field where it makes no sense', () => {
    checkBake({ loadBalancer: 'prefix' });
    checkBake({ bake: { maxErrorPercent: 1 } });
    for (const [bake, field] of [
      [{ seconds: -1 }, 'experimentalFeatures.bake.seconds'],
      [{ maxErrorPercent: 101 }, 'experimentalFeatures.bake.maxErrorPercent'],
      [{ second: 1 }, 'experimentalFeatures.bake'],
      [60, 'experimentalFeatures.bake'],
    ] as const)
      assert.throws(
        () => checkBake({ bake }),
        (error: EndpointsError) =>
          error.code === 'VALIDATION_FAILED' && error.message.startsWith(`${field}: `),
      );
  });
});

/** Plays an update from revision 1 to 2 in a world with room for the surge; some replicas die on the way. */
function rollsOut(s: { target: number; verdictAt: number; good: boolean; deaths: number[] }): void {
  const wish = desired({ minReplica: s.target, maxReplica: s.target });
  let memory: EndpointMemory = {
    ...adopt(null, desired({ revision: 1, generation: 1 })),
    stable: 1,
    target: s.target,
    nextNumber: s.target + 1,
    replicas: Array.from({ length: s.target }, (_, i) => view(i + 1, 1)),
  };
  memory = adopt(memory, wish);
  let watchedFor = 0;
  for (let round = 0; round < 80; round += 1) {
    const now = NOW + round * 1000;
    if (s.deaths.includes(round)) memory = { ...memory, replicas: memory.replicas.slice(1) };
    const trialled = memory.replicas.some((r) => r.revision === 2 && r.stage === 'running' && !r.stopping);
    watchedFor = trialled ? watchedFor + 1 : 0;
    const over = trialled && watchedFor > s.verdictAt && !memory.rejected && memory.approved !== 2;
    const verdict = over ? { revision: 2, failure: s.good ? null : FAILURE } : null;
    memory = hear(
      memory,
      wish,
      { woken: false, asked: null, views: [], verdict, retriesOnce: true, slowCrashes: true },
      now,
    );
    const ready = (of: EndpointMemory) => of.replicas.filter((r) => r.stage === 'running' && !r.stopping);
    const before = ready(memory).length;
    memory = carryOut(memory, plan(wish, { ...memory, stable: memory.stable ?? null }, now), now);
    assert.ok(memory.replicas.length <= s.target + 1, `${memory.replicas.length} at once for ${s.target}`);
    assert.ok(ready(memory).length >= Math.min(s.target, before), 'gave up a replica that is needed');
    const undecided = memory.approved !== 2 && !memory.rejected;
    const left = memory.replicas.filter((r) => !r.stopping);
    if (undecided && left.some((r) => r.revision === 1))
      assert.ok(left.filter((r) => r.revision === 2).length <= 1, 'went on without a verdict');
    const replicas = left.map((r): ReplicaView => ({ ...r, stage: 'running', readyAt: r.readyAt ?? now }));
    memory = { ...memory, replicas };
    const done = replicas.length === s.target && replicas.every((r) => r.revision === (s.good ? 2 : 1));
    if (!undecided && done && Math.max(-1, ...s.deaths) < round) return;
  }
  assert.fail(`not settled: ${JSON.stringify(memory)}`);
}
