import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { containerLost } from '../../workflows/messages.ts';
import { eventually } from '../support/eventually.ts';
import { openStage } from './stage.ts';
import { World } from './world.ts';

const BAKE = { seconds: 3600, requests: 500, maxErrorPercent: 5 };
const FAILURE = {
  code: 'ENGINE_ERRORS',
  message: 'revision 2 answered 9 of 9 requests with errors',
} as const;

describe('workflows: a rollout that is watched', () => {
  let world: World;
  let stage: Awaited<ReturnType<typeof openStage>>;

  beforeEach(async () => {
    world = new World({ endpointId: randomUUID(), bake: BAKE, minReplica: 2, maxReplica: 2 });
    stage = await openStage(world, `t${randomUUID().slice(0, 8)}`);
    await stage.tell();
    await eventually('two serve', () => world.projection?.readyReplica === 2);
  });
  afterEach(async () => {
    world.wish({ phase: 'deleted' });
    await stage.tell();
    await stage.handle.result();
    assert.deepEqual([[...world.containers], [...world.routes], world.alive], [[], [], []]);
    await stage.close();
  });

  const update = async (revision: number) => {
    world.wish({ revision });
    await stage.tell();
  };
  const state = (wanted: string) =>
    eventually(`${wanted}, is ${world.projection?.state}`, () => world.projection?.state === wanted);
  const numbers = () => [...world.routes].map((id) => Number(id.split('-').at(-1))).sort();
  const serves = (...wanted: number[]) =>
    eventually(`${wanted} serve`, () => JSON.stringify(numbers()) === JSON.stringify(wanted));

  it('goes on with one replica of the new revision until it is found good', async () => {
    await update(2);
    await eventually('said', () => /is watched for 3600 s/.test(world.projection?.message ?? ''));
    assert.deepEqual(numbers(), [1, 2, 3]);
    assert.equal(world.projection?.state, 'updating');
    world.verdict = null;
    await serves(3, 4);
    await state('running');
    assert.ok(world.published.slice(5).every((p) => p.readyReplica >= 2));
  });

  it('is rolled back with cause and log, serves on, and takes the next good revision', async () => {
    world.verdict = FAILURE;
    await update(2);
    await state('updateFailed');
    await serves(1, 2);
    const { message, errorMessage, readyReplica } = world.projection ?? {};
    assert.match(message ?? '', /rolled back/);
    assert.match(errorMessage ?? '', /^ENGINE_ERRORS: revision 2 answered 9 of 9 .*\n\nlog of /s);
    assert.equal(readyReplica, 2);
    const bad = [...world.stages].find(([id]) => id.endsWith('-3'));
    await eventually('its replica is over', () => world.stages.get(bad?.[0] ?? '') === 'failed');

    // What serves now is looked after like any other.
    await stage.replica(1).signal(containerLost, { code: 'UNKNOWN', message: 'killed' });
    await serves(2, 4);
    assert.equal(world.projection?.state, 'updateFailed');

    world.verdict = null;
    await update(3);
    await state('running');
    await eventually('two of revision 3', () => numbers().every((n) => n > 4) && numbers().length === 2);
    assert.equal(world.projection?.errorMessage, null);
  });

  it('is superseded by another update while it is watched', async () => {
    await update(2);
    await eventually('the first is watched', () => world.watched.at(-1) === 2);
    await update(3);
    await eventually('the first is called off', () => numbers().includes(4) && !numbers().includes(3));
    await eventually('the second is watched', () => world.watched.at(-1) === 3);
    world.verdict = null;
    await state('running');
    await serves(4, 5);
    assert.deepEqual(world.watched, [2, 3]);
  });

  it('is tried again by a write when it was rolled back, and given up by a pause', async () => {
    world.verdict = FAILURE;
    await update(2);
    await state('updateFailed');
    await serves(1, 2);
    world.verdict = undefined;
    world.wish({});
    await stage.tell();
    await eventually('watched again', () => world.watched.length === 2);
    world.wish({ phase: 'paused' });
    await stage.tell();
    await eventually(
      'nothing runs',
      () => world.containers.size === 0 && world.projection?.state === 'paused',
    );
  });
});
