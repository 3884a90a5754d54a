import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { eventually } from '../support/eventually.ts';
import { openStage } from './stage.ts';
import { World } from './world.ts';

describe('workflows: one image for a revision', () => {
  let world: World;
  let stage: Awaited<ReturnType<typeof openStage>>;

  async function play(minReplica: number, prepare: (world: World) => void = () => undefined): Promise<void> {
    world = new World({ endpointId: randomUUID(), minReplica, maxReplica: 3 });
    prepare(world);
    stage = await openStage(world, `t${randomUUID().slice(0, 8)}`);
    await stage.tell();
    await ready(minReplica);
  }
  const ready = (count: number) =>
    eventually(`${count} ready`, () => world.projection?.readyReplica === count);
  afterEach(async () => {
    world.wish({ phase: 'deleted' });
    await stage.tell();
    await stage.handle.result();
    await stage.close();
  });

  it('is the one its first replica had, wherever the tag points later', async () => {
    await play(1);
    world.tag = 'engine@sha256:2';
    world.wish({ minReplica: 2 });
    await stage.tell();
    await ready(2);
    assert.deepEqual(world.started, ['engine@sha256:1', 'engine@sha256:1']);
  });

  it('is one also when the tag moves between two replicas that start at once', async () => {
    // Both are planned before either has pinned: each finds another image behind the tag.
    let pulls = 0;
    await play(2, (w) => {
      w.atPull = async () => {
        w.tag = 'engine@sha256:2';
        pulls += 1;
        await eventually('both have pulled', () => pulls >= 2, { timeoutMs: 60_000 });
      };
    });
    assert.equal(new Set(world.started).size, 1, world.started.join());
    assert.equal(world.pinned.get(1), world.started[0]);
  });

  it('is what the owner wrote where an older agent does not say which it has', async () => {
    await play(1, (w) => {
      w.tag = undefined;
    });
    assert.deepEqual(world.started, ['engine:1']);
    assert.equal(world.pinned.size, 0);
  });
});
