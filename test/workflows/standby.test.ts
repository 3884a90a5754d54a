import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import {
  containerLost,
  scaleTo,
  specChanged,
  stopReplica,
  WORKFLOWS,
  wake,
} from '../../workflows/messages.ts';
import { eventually } from '../support/eventually.ts';
import { openStage } from './stage.ts';
import { World } from './world.ts';

type Stage = Awaited<ReturnType<typeof openStage>>;

describe('workflows: a container kept at zero', () => {
  let world: World;
  let stage: Stage;

  async function play(over: object = {}): Promise<void> {
    world = new World({ endpointId: randomUUID(), minReplica: 0, standby: 'frozen', ...over });
    stage = await openStage(world, `s${randomUUID().slice(0, 8)}`);
    await stage.tell();
    await state('running');
  }
  const state = (wanted: string) =>
    eventually(`state ${wanted}`, () => world.projection?.state === wanted, { timeoutMs: 30_000 });
  const replicaStage = (number: number) => [...world.stages].find(([id]) => id.endsWith(`-${number}`))?.[1];
  const sleep = async () => {
    await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
    await eventually('at rest', () => [...world.stages.values()].includes('standby'), { timeoutMs: 30_000 });
    await eventually('said', () => /kept frozen/.test(world.projection?.message ?? ''), {
      timeoutMs: 30_000,
    });
  };
  const finish = async () => {
    world.wish({ phase: 'deleted' });
    await stage.tell();
    await stage.handle.result();
    assert.deepEqual([...world.containers], []);
    assert.deepEqual([...world.routes], []);
    assert.deepEqual(world.alive, []);
  };
  afterEach(() => stage.close());

  it('is drained, frozen, and thawed by the next request, again and again', async () => {
    await play();
    for (let cycle = 0; cycle < 3; cycle += 1) {
      await sleep();
      assert.equal(world.containers.size, 1);
      assert.deepEqual([...world.resting.values()], ['frozen']);
      assert.equal(world.routes.size, 0);
      await stage.handle.signal(wake);
      await state('running');
      assert.equal(world.routes.size, 1);
    }
    assert.deepEqual([...world.stages.values()], ['running'], 'one replica all along');
    await finish();
  });

  for (const [what, change] of [
    ['an update', { revision: 2 }],
    ['keeping it another way', { standby: 'stopped' }],
    ['a pause', { phase: 'paused' }],
  ] as const)
    it(`goes by ${what} while it is at rest`, async () => {
      await play();
      await sleep();
      world.wish(change);
      await stage.tell();
      await eventually('no container', () => world.containers.size === 0 && world.alive.length === 0);
      await finish();
    });

  it('goes with the endpoint', async () => {
    await play();
    await sleep();
    await finish();
  });

  it('that cannot be used is replaced by a new one within the same wake', async () => {
    await play();
    await sleep();
    world.spoiled = true;
    await stage.handle.signal(wake);
    await state('running');
    assert.equal(replicaStage(1), 'stopped');
    assert.equal(replicaStage(2), 'running');
    assert.equal(world.projection?.errorMessage, null);
    await finish();
  });

  it('that is lost at rest, or whose memory is needed, is no failure: the next wake is a cold one', async () => {
    await play();
    await sleep();
    await stage.replica(1).signal(containerLost, { code: 'CONTAINER_EXITED', message: 'exit 137' });
    await eventually('gone', () => world.alive.length === 0);
    await stage.handle.signal(wake);
    await state('running');
    assert.equal(world.projection?.errorMessage, null);
    await sleep();
    await stage.replica(2).signal(stopReplica, { reason: 'memoryNeeded' });
    await eventually('gone', () => world.alive.length === 0 && world.containers.size === 0);
    assert.equal(world.projection?.state, 'scaledToZero');
    await stage.handle.signal(wake);
    await state('running');
    assert.equal(replicaStage(3), 'running');
    await stage.replica(3).signal(stopReplica, { reason: 'memoryNeeded' });
    await finish();
    assert.ok(!world.published.some((p) => p.state === 'failed'));
  });

  it('a request during the drain takes it back into service', async () => {
    await play();
    world.slowDrain = true;
    await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
    await eventually('drains', () => world.calls.includes('drain'));
    assert.equal(world.routes.size, 0);
    await stage.handle.signal(wake);
    await state('running');
    assert.equal(world.routes.size, 1);
    assert.equal(world.resting.size, 0);
    world.slowDrain = false;
    assert.ok(!world.calls.some((call) => call.startsWith('resume')));
    await finish();
  });

  it('is found again by workflows that lost their memory, and wakes', async () => {
    await play();
    await sleep();
    await stage.handle.terminate();
    await stage.replica(1).terminate();
    const at = { namespace: 'ns', name: stage.workflowId.split('/')[2] ?? '' };
    world.desired = {
      ...(world.desired ?? assert.fail()),
      lastReplicaNumber: 1,
      liveReplicas: [
        {
          number: 1,
          revision: 1,
          stage: 'standby',
          message: '',
          hostId: world.hostId,
          stageSince: 0,
          readyAt: null,
          failure: null,
          blocked: false,
          stopping: false,
          resting: 'frozen',
        },
      ],
    };
    world.resting.clear();
    await stage.client.workflow.signalWithStart(WORKFLOWS.endpoint, {
      workflowId: stage.workflowId,
      taskQueue: stage.taskQueue,
      args: [at],
      signal: specChanged,
    });
    await eventually('frozen again', () => world.resting.size === 1, { timeoutMs: 30_000 });
    assert.equal(world.projection?.state, 'scaledToZero');
    await stage.handle.signal(wake);
    await state('running');
    assert.deepEqual([...world.stages.values()], ['running']);
    await finish();
  });
});
