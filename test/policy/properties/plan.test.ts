import assert from 'node:assert/strict';
import fc from 'fast-check';
import { SURGE } from '../../../workflows/policy/plan.ts';
import { type Round, Simulation } from '../simulation.ts';

/** How many random sequences of events are played, over all properties together. */
const SEQUENCES = 100_000;

type Event = (world: Simulation, pick: number) => void;

/** Takes one of these, if there is any. */
function some<T>(list: readonly T[], pick: number): T | undefined {
  return list[pick % Math.max(1, list.length)];
}

const CAUSES = ['BAD_ARGS', 'UNKNOWN'] as const;

/** Everything that can happen to an endpoint; those that move replicas are there several times, because they happen more. */
const EVENTS: readonly Event[] = [
  ...Array<Event>(6).fill((w, pick) => {
    const replica = some(w.real, pick);
    if (replica) w.advance(replica);
  }),
  ...Array<Event>(2).fill((w, pick) => {
    const replica = some(
      w.real.filter((r) => r.stage === 'draining'),
      pick,
    );
    if (replica) w.end(replica);
  }),
  (w, pick) => {
    const replica = some(w.serving, pick);
    if (replica) w.fail(replica, 'CONTAINER_EXITED');
  },
  (w, pick) => {
    const replica = some(
      w.real.filter((r) => r.hostId !== null),
      pick,
    );
    if (replica) w.lose(replica);
  },
  (w, pick) => {
    const replica = some(
      w.real.filter((r) => r.unreachable),
      pick,
    );
    if (!replica) return;
    if (pick % 4 === 0 && !replica.stopping) w.fail(replica, 'HOST_LOST');
    else w.find(replica);
  },
  (w) => w.write({ revision: w.wish.revision + 1 }),
  (w, pick) => {
    w.write({ revision: w.wish.revision + 1 });
    w.bad.set(w.wish.revision, CAUSES[pick % 2] ?? 'UNKNOWN');
  },
  (w) => {
    w.write({ revision: w.wish.revision + 1 });
    w.large.add(w.wish.revision);
  },
  (w) => w.large.clear(),
  (w, pick) => w.write({ minReplica: pick % 3, maxReplica: Math.max(1, (pick % 3) + (pick % 2)) }),
  (w) => w.write({}),
  (w, pick) => {
    const standby = ([undefined, 'frozen', 'stopped'] as const)[pick % 3];
    const { standby: _, ...wish } = w.wish;
    w.wish = standby ? { ...wish, standby } : wish;
    w.write({});
  },
  (w) => w.write({ phase: 'paused' }),
  (w) => w.write({ phase: 'running' }),
  (w) => w.write({ sleepGeneration: w.wish.generation + 1 }),
  (w, pick) => w.write({ phase: pick % 4 === 0 ? 'deleted' : w.wish.phase }),
  (w) => w.wake(),
  (w, pick) => w.ask(pick % 4),
  (w, pick) => {
    w.now += [500, 3000, 70_000][pick % 3] ?? 0;
  },
  (w, pick) => {
    w.places = 1 + (pick % 5);
  },
  (w, pick) => {
    if (pick % 4 === 0) w.forget();
  },
];

/** Counts before a round. */
interface Counts {
  serving: number;
  routed: number;
  alive: number;
}

const countsOf = (world: Simulation): Counts => ({
  serving: world.serving.length,
  routed: world.routed.length,
  alive: aliveOf(world),
});
/** On hosts that answer: of the others nobody can say. */
const aliveOf = (world: Simulation) => world.real.filter((r) => !r.unreachable).length;

/** What no round may break, whatever came before it. */
function check(world: Simulation, { before, plan, projection }: Round, was: Counts): void {
  const { wish, memory } = world;
  assert.ok(memory);
  // One replica per number, no number twice, each of a revision there is.
  const numbers = world.real.map((r) => r.number);
  assert.equal(new Set(numbers).size, numbers.length);
  assert.ok(numbers.every((n) => n < memory.nextNumber));
  assert.equal(memory.nextNumber, before.nextNumber + plan.start);
  if (plan.start > 0) {
    assert.ok(wish.phase === 'running' && before.target > 0, 'starts although it should rest');
    const homeless = before.replicas.some((r) => r.revision === wish.revision && r.fitsNowhere);
    assert.ok(
      plan.revision === wish.revision || before.streak?.exhausted || homeless,
      'starts an old revision',
    );
  }
  // Told to stop once, and only what is there.
  for (const { number, reason } of plan.stop) {
    assert.equal(plan.stop.filter((s) => s.number === number).length, 1);
    const told = before.replicas.find((r) => r.number === number);
    assert.ok(told && (!told.stopping || (reason === 'deleted' && told.unreachable)));
  }
  // Never more than the maximum and one, but for what was there before the maximum fell.
  const alive = aliveOf(world);
  assert.ok(alive <= Math.max(wish.maxReplica + SURGE, was.alive), `${alive} alive of ${wish.maxReplica}`);
  const serving = world.serving.length;
  if (wish.phase !== 'running' || before.target === 0) {
    const kept = world.real.filter((r) => !r.stopping);
    assert.ok(kept.every((r) => !r.unreachable));
    const mayKeep = wish.phase === 'running' && wish.standby !== undefined;
    assert.ok(kept.length <= Number(mayKeep), `${kept.length} stay`);
    assert.ok(kept.every((r) => r.resting === wish.standby && r.revision === wish.revision));
    assert.deepEqual([projection.readyReplica, projection.targetReplica], [0, 0]);
    return;
  }
  // Of those that serve, never fewer than needed, but for the one whose room a new one gets.
  const needed = Math.min(before.target, was.serving);
  const given = plan.madeRoomFor === null ? 0 : 1;
  assert.ok(serving >= needed - given, `${serving} of ${needed} serve on`);
  // What cannot be reached stays open until others serve in its stead.
  const routed = world.routed.length;
  const open = Math.min(before.target, was.routed);
  assert.ok(routed >= open - given, `${routed} of ${open} stay open`);
  if (plan.madeRoomFor !== null)
    assert.ok(before.replicas.some((r) => r.number === plan.madeRoomFor && r.blocked && !r.fitsNowhere));
  // What readers see is what is.
  assert.equal(projection.readyReplica, serving);
  if (projection.state === 'running') assert.ok(serving > 0);
  if (projection.state === 'failed') assert.equal(serving, 0);
  if (projection.state === 'failed' || projection.state === 'updateFailed')
    assert.ok(projection.errorMessage);
}

/** Where an endpoint must have come to once nothing happens any more. */
function checkSettled(world: Simulation): void {
  const { wish, memory, projection, present: real } = world;
  assert.ok(memory && projection);
  if (wish.phase !== 'running') {
    assert.deepEqual([projection.state, real.length], ['paused', 0]);
    if (wish.phase === 'deleted') assert.equal(world.real.length, 0, 'a deletion waits for no host');
    return;
  }
  if (memory.target === 0) {
    assert.equal(projection.state, 'scaledToZero');
    assert.ok(real.every((r) => r.stage === 'standby' && r.resting === wish.standby) && real.length <= 1);
    return;
  }
  if (projection.state === 'failed') {
    const { stable = null, stableStreak = null } = memory;
    assert.ok(
      stable === null || stable === wish.revision || stableStreak?.exhausted,
      'gave up a good revision',
    );
    return;
  }
  const homeless = real.some((r) => r.fitsNowhere);
  if (homeless && projection.state === 'pending') {
    assert.equal(memory.stable, null, 'waits although another revision could serve');
    return;
  }
  assert.equal(world.serving.length, memory.target);
  if (projection.state === 'updateFailed') {
    assert.ok(memory.streak?.exhausted || homeless);
    return;
  }
  assert.equal(projection.state, 'running');
  assert.ok(real.every((r) => r.revision === wish.revision && r.stage === 'running'));
  assert.equal(wish.revision, memory.stable);
}

function playOut(events: readonly number[]): void {
  const world = new Simulation({ maxReplica: 2 });
  const round = () => {
    const was = countsOf(world);
    check(world, world.round(), was);
  };
  round();
  for (const code of events) {
    EVENTS[code % EVENTS.length]?.(world, Math.floor(code / EVENTS.length) % 12);
    // Some news come alone, some together.
    if (code % 3 !== 0) round();
  }
  // Where no other host has room, those on lost ones are all there is.
  world.places = Math.max(world.places, world.wish.maxReplica + world.real.length - aliveOf(world));
  assert.ok(world.settle(), `not settled: ${JSON.stringify(world.projection)} ${JSON.stringify(world.real)}`);
  checkSettled(world);
}

describe('policy: plan, whatever happens', () => {
  it(`keeps its invariants and comes to rest in ${SEQUENCES} sequences of random events`, function () {
    this.timeout(600_000);
    const events = fc.array(fc.nat(EVENTS.length * 12 - 1), { minLength: 1, maxLength: 16, size: 'max' });
    fc.assert(fc.property(events, playOut), { numRuns: SEQUENCES });
  });
});
