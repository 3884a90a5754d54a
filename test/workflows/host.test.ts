import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReplicaView } from '../../spec/lifecycle.ts';
import { replicaId } from '../../spec/names.ts';
import { replicaView, stopReplica, WORKFLOWS } from '../../workflows/messages.ts';
import { eventually } from '../support/eventually.ts';
import { openStage } from './stage.ts';
import { World } from './world.ts';

type Stage = Awaited<ReturnType<typeof openStage>>;

describe('workflows: a host', function () {
  this.timeout(120_000);
  let world: World;
  let stage: Stage;
  let hostWorkflow: string;
  const endpointId = randomUUID();
  const id = (number: number) => replicaId(endpointId, number);

  /** One replica serves on the host, and the host is watched. */
  async function play({ spare = false } = {}): Promise<void> {
    world = new World({ endpointId });
    if (spare) world.spareHostId = `s${randomUUID().slice(0, 8)}`;
    stage = await openStage(world, `t${randomUUID().slice(0, 8)}`);
    await stage.tell();
    hostWorkflow = await stage.joinHost();
    await eventually('serving', () => world.projection?.state === 'running');
    const name = stage.workflowId.split('/')[2];
    world.replicaWorkflows = [1, 2, 99].map((number) => `replica/ns/${name}/${number}`);
  }
  const loseHost = async () => {
    await stage.stopHost();
    await eventually('declared lost', () => world.hostState === 'lost');
    await eventually('the endpoint knows', () => world.projection?.readyReplica === 0);
  };
  const findHost = async () => {
    await stage.startHost();
    await stage.joinHost();
    await eventually('back', () => world.hostState === 'ready');
  };
  const view = async (number: number): Promise<ReplicaView> => stage.replica(number).query(replicaView);
  const stops = () => world.calls.filter((c) => c.startsWith('stop'));

  afterEach(async () => {
    await stage.client.workflow.getHandle(hostWorkflow).terminate('test over');
    if (world.desired) {
      world.wish({ phase: 'deleted' });
      await stage.tell();
    }
    await stage.handle.result();
    assert.deepEqual([world.alive, [...world.routes]], [[], []]);
    await stage.close();
  });

  it('that is silent for less than the time it has loses nothing, and nothing is started', async () => {
    await play();
    const looks = world.published.length;
    await stage.stopHost();
    await sleep(2000);
    assert.equal(world.hostState, 'ready');
    await stage.startHost();
    await sleep(3500);
    assert.deepEqual(
      [world.hostState, world.published.length, [...world.stages.keys()]],
      ['ready', looks, [id(1)]],
    );
  });

  it('that is lost leaves its replica open; without another host it is taken back as it is', async () => {
    await play();
    await loseHost();
    await eventually('another one waits for room', () =>
      world.projection?.message.includes('waiting for room'),
    );
    assert.match(world.projection?.message ?? '', /a replica is on a host that does not answer/);
    assert.deepEqual([...world.routes], [id(1)]);
    assert.equal((await view(1)).unreachable, true);

    await findHost();
    await eventually('running again', () => world.projection?.state === 'running');
    await stage.replica(2).result();
    assert.deepEqual([[...world.routes], [...world.containers]], [[id(1)], [`ep-${id(1)}`]]);
    assert.ok(!stops().includes(`stop ep-${id(1)}`));
    assert.equal(world.projection?.message, 'Endpoint is ready');
    assert.equal((await view(1)).unreachable, false);
  });

  it('that comes back when a replacement serves has its replica drained and stopped by the workflow', async () => {
    await play({ spare: true });
    world.slowDrain = true;
    await loseHost();
    await eventually('replaced', () => world.routes.has(id(2)) && world.projection?.readyReplica === 1);
    await eventually('the first one drains', () => !world.routes.has(id(1)) && world.calls.includes('drain'));
    await findHost();
    await sleep(1000);
    assert.deepEqual(
      [world.containers.has(`ep-${id(1)}`), stops()],
      [true, []],
      'requests are in flight on it',
    );
    world.slowDrain = false;
    assert.match(String(await stage.replica(1).result()), /replaced/);
    assert.deepEqual(stops(), [`stop ep-${id(1)}`]);
    assert.deepEqual([[...world.routes], world.stages.get(id(1))], [[id(2)], 'stopped']);
  });

  it('is waited for with the end of a container, but not by a deletion', async () => {
    await play({ spare: true });
    await loseHost();
    await eventually('waits', async () => (await view(1)).stage === 'stopping');
    assert.match((await view(1)).message, /does not answer: its container is stopped when it does/);
    assert.equal(world.projection?.state, 'running');
    assert.deepEqual(stops(), []);
    world.wish({ phase: 'deleted' });
    await stage.tell();
    await stage.handle.result();
    assert.deepEqual(stops(), [`stop ep-${id(2)}`]);
    assert.deepEqual([...world.containers], [`ep-${id(1)}`], 'what is left is found by the janitor');
  });

  it('that comes back without the container gets none back', async () => {
    await play();
    await loseHost();
    world.containers.clear();
    await findHost();
    await eventually('another one serves', () => world.routes.has(id(2)) && !world.routes.has(id(1)));
    await stage.replica(1).result();
    await eventually('running', () => world.projection?.state === 'running');
    assert.equal(world.stages.get(id(1)), 'failed');
    await eventually('nothing is told of it any more', () => world.projection?.errorMessage === null);
  });

  it('whose replica is told to stop between two of its runs has it drained and its container stopped', async () => {
    await play();
    const name = stage.workflowId.split('/')[2] ?? '';
    const containerName = `ep-${id(7)}`;
    world.containers.add(containerName);
    world.routes.add(id(7));
    world.stages.set(id(7), 'running');
    const input = {
      endpointId,
      namespace: 'ns',
      name,
      number: 7,
      revision: 1,
      engine: 'llamacpp',
      model: 'm',
    };
    const serving = { hostId: world.hostId, containerName, stopGraceMs: 1000, readyAt: Date.now() };
    const handle = await stage.client.workflow.signalWithStart(WORKFLOWS.replica, {
      workflowId: `replica/ns/${name}/7`,
      taskQueue: stage.taskQueue,
      args: [{ ...input, pinned: true, serving }],
      signal: stopReplica,
      signalArgs: [{ reason: 'scaledDown' }],
    });
    await handle.result();
    assert.deepEqual([world.calls.includes('drain'), stops()], [true, [`stop ${containerName}`]]);
  });
});
