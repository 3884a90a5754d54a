import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { containerLost, scaleTo, wake } from '../../workflows/messages.ts';
import { eventually } from '../support/eventually.ts';
import { openStage } from './stage.ts';
import { World } from './world.ts';

type Stage = Awaited<ReturnType<typeof openStage>>;

describe('workflows: an endpoint', () => {
  let world: World;
  let stage: Stage;

  async function play(over: ConstructorParameters<typeof World>[0] | object = {}): Promise<void> {
    world = new World({ endpointId: randomUUID(), ...over });
    stage = await openStage(world, `t${randomUUID().slice(0, 8)}`);
    await stage.tell();
  }
  const state = (wanted: string) =>
    eventually(`state ${wanted}, is ${world.projection?.state}`, () => world.projection?.state === wanted);
  const finish = async () => {
    if (world.desired) {
      world.wish({ phase: 'deleted' });
      await stage.tell();
    }
    await stage.handle.result();
    assert.deepEqual([...world.containers], []);
    assert.deepEqual([...world.routes], []);
    assert.deepEqual(world.alive, []);
  };
  afterEach(async () => {
    await stage.close();
  });

  it('goes from pending over initializing to running, and leaves nothing when deleted', async () => {
    await play();
    await state('running');
    const states = world.published.map((p) => p.state);
    assert.deepEqual([...new Set(states)], ['pending', 'initializing', 'running']);
    assert.equal(world.routes.size, 1);
    await finish();
    assert.ok(world.calls.includes('drain'));
    assert.equal(world.calls.at(-1), 'remove');
  });

  it('pauses and resumes', async () => {
    await play();
    await state('running');
    world.wish({ phase: 'paused' });
    await stage.tell();
    await eventually(
      'nothing runs',
      () => world.projection?.state === 'paused' && world.containers.size === 0,
    );
    world.wish({ phase: 'running' });
    await stage.tell();
    await state('running');
    await finish();
  });

  it('calls off a start when it is paused meanwhile', async () => {
    await play();
    world.slowReady = true;
    await eventually('container started', () => world.containers.size === 1);
    world.wish({ phase: 'paused' });
    await stage.tell();
    await eventually('container gone', () => world.containers.size === 0 && world.alive.length === 0);
    assert.equal(world.projection?.state, 'paused');
    world.slowReady = false;
    await finish();
  });

  it('sleeps when told and wakes by a request, not by an old figure', async () => {
    await play({ minReplica: 0 });
    await state('running');
    await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
    await eventually(
      'asleep',
      () => world.projection?.state === 'scaledToZero' && world.containers.size === 0,
    );
    await stage.handle.signal(scaleTo, { replicas: 2, reason: 'late' });
    await stage.tell();
    await stage.handle.signal(wake);
    await state('running');
    assert.equal(world.projection?.targetReplica, 1);
    await finish();
  });

  it('obeys a forced scale to zero once, and wakes from it', async () => {
    await play({ minReplica: 1 });
    await state('running');
    world.wish({ sleepGeneration: 2 });
    await stage.tell();
    await state('scaledToZero');
    world.wish({});
    await stage.tell();
    await eventually('second write seen', () => world.projection?.observedGeneration === 3);
    assert.equal(world.projection?.state, 'scaledToZero');
    await stage.handle.signal(wake);
    await state('running');
    await finish();
  });

  it('replaces a replica that dies', async () => {
    await play();
    await state('running');
    await stage
      .replica(1)
      .signal(containerLost, { code: 'CONTAINER_EXITED', message: 'exit 137', exitCode: 137 });
    await eventually(
      'replica 2 serves',
      () => world.routes.size === 1 && [...world.routes][0]?.endsWith('-2'),
    );
    await state('running');
    assert.equal(world.stages.get([...world.stages.keys()].find((id) => id.endsWith('-1')) ?? ''), 'failed');
    await finish();
  });

  it('fails at once with the cause when a start cannot succeed, and recovers by a write', async () => {
    await play();
    world.failStarts = { code: 'BAD_ARGS', retryable: false, times: 1 };
    await state('failed');
    assert.match(world.projection?.errorMessage ?? '', /^BAD_ARGS: no/);
    assert.equal(world.stages.size, 1);
    world.wish({});
    await stage.tell();
    await state('running');
    await finish();
  });

  it('tries a start again that may succeed, and gives up after the limit', async () => {
    await play();
    world.failStarts = { code: 'UNKNOWN', retryable: true, times: 2 };
    await state('running');
    assert.equal(world.stages.size, 3);
    await finish();
  });

  it('updates with one replica to spare, never without a ready one', async () => {
    await play();
    await state('running');
    world.wish({ revision: 2 });
    await stage.tell();
    await eventually(
      'revision 2 serves alone',
      () => world.routes.size === 1 && [...world.routes][0]?.endsWith('-2'),
    );
    await state('running');
    const updating = world.published.filter((p) => p.state === 'updating');
    assert.ok(updating.length > 0);
    assert.ok(updating.every((p) => p.readyReplica >= 1));
    await finish();
  });

  it('keeps the old revision when the new one fails, and takes the next good one', async () => {
    await play();
    await state('running');
    world.failStarts = { code: 'BAD_ARGS', retryable: false, times: 1 };
    world.wish({ revision: 2 });
    await stage.tell();
    await state('updateFailed');
    assert.deepEqual([world.projection?.readyReplica, world.routes.size], [1, 1]);
    world.wish({ revision: 3 });
    await stage.tell();
    await state('running');
    // The old replica may still be on its way out.
    await eventually('one route', () => world.routes.size === 1);
    await finish();
  });

  it('replaces the version before, when the new one has failed and it dies', async () => {
    await play();
    await state('running');
    world.failStarts = { code: 'BAD_ARGS', retryable: false, times: 1 };
    world.wish({ revision: 2 });
    await stage.tell();
    await state('updateFailed');
    await stage
      .replica(1)
      .signal(containerLost, { code: 'CONTAINER_EXITED', message: 'exit 137', exitCode: 137 });
    await eventually('replaced', () => [...world.routes].some((id) => id.endsWith('-3')));
    assert.equal(world.projection?.state, 'updateFailed');
    world.wish({ revision: 3 });
    await stage.tell();
    await state('running');
    await finish();
  });

  it('updates one by one where there is no room for a spare', async () => {
    await play();
    world.room = 1;
    await state('running');
    world.wish({ revision: 2 });
    await stage.tell();
    await eventually('revision 2 serves', () => [...world.routes].some((id) => id.endsWith('-2')));
    await state('running');
    await finish();
  });

  it('keeps what serves while an update waits for a host that is large enough, and updates when one has joined', async () => {
    await play({ maxReplica: 1 });
    await state('running');
    world.tooLarge = true;
    world.wish({ revision: 2 });
    await stage.tell();
    await state('updateFailed');
    const { message, errorMessage, readyReplica } = world.projection ?? {};
    assert.match(message ?? '', /fits on no host.*serves on$/);
    assert.match(errorMessage ?? '', /large enough/);
    assert.equal(readyReplica, 1);
    assert.ok([...world.routes].every((id) => id.endsWith('-1')));

    world.tooLarge = false;
    await state('running');
    assert.ok([...world.routes].every((id) => id.endsWith('-2')));
    await finish();
  });

  it('resolves the model first when the write could not', async () => {
    await play({ pinned: false });
    await state('running');
    assert.deepEqual(
      world.calls.filter((c) => c === 'pin'),
      ['pin'],
    );
    await finish();
  });

  it('takes over replicas of an endpoint it has no memory of', async () => {
    const endpointId = randomUUID();
    const known = {
      number: 4,
      revision: 1,
      stage: 'running',
      message: '',
      hostId: 'h1',
      stageSince: 1,
      readyAt: 1,
      failure: null,
      blocked: false,
      stopping: false,
    };
    await play({ endpointId, generation: 3, lastReplicaNumber: 4, targetReplica: 1, liveReplicas: [known] });
    await eventually('replica 4 serves', () => [...world.routes].some((id) => id.endsWith('-4')));
    await state('running');
    assert.equal(world.stages.size, 1);
    await finish();
  });

  it('rolls over under a stream of signals without losing one or a replica', async () => {
    await play({ minReplica: 0 });
    await state('running');
    const first = await stage.handle.describe();
    for (let round = 0; round < 12; round += 1) {
      await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
      await Promise.all(Array.from({ length: 10 }, () => stage.tell()));
      await eventually('asleep', () => world.projection?.state === 'scaledToZero');
      await stage.handle.signal(wake);
      await state('running');
    }
    const last = await stage.handle.describe();
    assert.notEqual(last.runId, first.runId);
    assert.ok(last.historyLength < 400, `${last.historyLength} events in one run`);
    await eventually(
      'one serves, the others are gone',
      () => world.routes.size === 1 && world.alive.length === 1,
    );
    await finish();
  });
});
