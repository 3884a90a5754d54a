import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { scaleTo, wake } from '../../workflows/messages.ts';
import { eventually } from '../support/eventually.ts';
import { openStage } from './stage.ts';
import { World } from './world.ts';

describe('workflows: a start on a host that knows the revision', () => {
  let world: World;
  let stage: Awaited<ReturnType<typeof openStage>>;

  beforeEach(async () => {
    world = new World({ endpointId: randomUUID(), minReplica: 0 });
    stage = await openStage(world, `a${randomUUID().slice(0, 8)}`);
    await stage.tell();
    await running();
    await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
    await eventually('asleep', () => world.containers.size === 0 && world.alive.length === 0);
  });
  afterEach(async () => {
    world.wish({ phase: 'deleted' });
    await stage.tell();
    await stage.handle.result();
    assert.deepEqual(world.alive, []);
    await stage.close();
  });

  const running = () =>
    eventually('running', () => world.projection?.state === 'running', { timeoutMs: 60_000 });
  /** The steps on the host, by the history of a replica. */
  async function steps(number: number): Promise<string[]> {
    const { events } = await stage.replica(number).fetchHistory();
    return (events ?? []).flatMap((e) => e.activityTaskScheduledEventAttributes?.activityType?.name ?? []);
  }

  it('is one step on the host', async () => {
    assert.deepEqual((await steps(1)).slice(0, 4).sort(), [
      'downloadWeights',
      'pullImage',
      'startContainer',
      'waitReady',
    ]);
    await stage.handle.signal(wake);
    await running();
    assert.deepEqual(await steps(2), ['startReady']);
    assert.equal(world.routes.size, 1);
    assert.equal([...world.stages.values()].at(-1), 'running');
  });

  it('fetches what the host has lost meanwhile', async () => {
    world.bare = true;
    await stage.handle.signal(wake);
    await running();
    const [first, ...rest] = await steps(2);
    assert.equal(first, 'startReady');
    assert.deepEqual(rest.slice(0, 2).sort(), ['downloadWeights', 'pullImage']);
    assert.deepEqual(rest.slice(2), ['startContainer', 'waitReady']);
  });

  it('waits for room, and says so', async () => {
    world.room = 0;
    await stage.handle.signal(wake);
    await eventually('waits', () => world.projection?.message === 'waiting for room');
    world.room = 1;
    await running();
    assert.deepEqual(await steps(2), ['awaitPlace', 'startReady']);
  });

  it('that fails is a failed start with its cause', async () => {
    world.failStarts = { code: 'BAD_ARGS', retryable: false, times: 1 };
    await stage.handle.signal(wake);
    await eventually('failed', () => world.projection?.state === 'failed');
    assert.match(world.projection?.errorMessage ?? '', /^BAD_ARGS/);
  });
});
