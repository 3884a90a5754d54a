import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { scaleTo, wake } from '../../workflows/messages.ts';
import { randomFrom } from '../gateway/mutate.ts';
import { eventually } from '../support/eventually.ts';
import { openStage } from './stage.ts';
import { World } from './world.ts';

/** `npm run test:marathon` makes 10,000. */
const TRANSITIONS = Number(process.env.MARATHON_TRANSITIONS ?? 40);
const SEED = Number(process.env.MARATHON_SEED ?? Date.now() % 1_000_000_007);
const EACH_MS = 60_000;
/** Temporal ends a workflow at 51,200 events or 50 MB; the code is to stay two orders of magnitude below. */
const EVENTS_LIMIT = Number(process.env.TEST_ROLLOVER_EVENTS ?? 100) + 200;
const BYTES_LIMIT = 500_000;
const HEAP_GROWTH_MEGABYTES = 150;

type Wish = 'asleep' | 'one' | 'two' | 'paused';

/**
 * One endpoint through many changes in a random order, with signals that mean nothing new arriving all the time, so that some
 * meet the very moment of continue-as-new.
 */
describe('workflows: a long life', function () {
  this.timeout(EACH_MS + TRANSITIONS * 5000);

  it(`${TRANSITIONS} transitions leave a short history and lose no signal (seed ${SEED})`, async () => {
    const random = randomFrom(SEED);
    const world = new World({ endpointId: randomUUID(), minReplica: 0, maxReplica: 2 });
    const stage = await openStage(world, `m${randomUUID().slice(0, 8)}`);
    await stage.tell();
    let now: Wish = 'one';
    let revision = 1;
    let made = 0;
    const isSo = () =>
      eventually(
        `transition ${made} to ${now}, revision ${revision}`,
        () => {
          const { projection, containers } = world;
          const replicas = now === 'one' ? 1 : now === 'two' ? 2 : 0;
          const state = now === 'asleep' ? 'scaledToZero' : now === 'paused' ? 'paused' : 'running';
          return (
            projection?.state === state &&
            projection.readyReplica === replicas &&
            containers.size === replicas &&
            [...world.routes].every((id) => world.revisions.get(id) === revision)
          );
        },
        { timeoutMs: EACH_MS, everyMs: 5 },
      );
    let noisy = true;
    const noise = (async () => {
      while (noisy) {
        await stage.tell();
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    })();
    try {
      await isSo();
      let heapBefore = 0;
      const runs = new Set<string>();
      for (made = 1; made <= TRANSITIONS; made++) {
        if (now === 'paused') {
          world.wish({ phase: 'running' });
          await stage.tell();
          now = 'one';
        } else if (now === 'asleep') {
          await stage.handle.signal(wake);
          now = 'one';
        } else {
          const choice = random(6);
          if (choice === 0) {
            revision += 1;
            world.wish({ revision });
            await stage.tell();
          } else if (choice === 1) {
            world.wish({ phase: 'paused' });
            await stage.tell();
            now = 'paused';
          } else if (choice < 4) {
            await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
            now = 'asleep';
          } else {
            now = now === 'one' ? 'two' : 'one';
            await stage.handle.signal(scaleTo, { replicas: now === 'one' ? 1 : 2, reason: 'load' });
          }
        }
        await isSo();
        if (made % 20 !== 0) continue;
        const { historyLength, historySize = 0, runId } = await stage.handle.describe();
        runs.add(runId);
        assert.ok(historyLength < EVENTS_LIMIT, `${historyLength} events after ${made} transitions`);
        assert.ok(historySize < BYTES_LIMIT, `${historySize} bytes after ${made} transitions`);
        // Of an hour's run one wants to hear.
        if (made % 1000 === 0) console.log(`${made} transitions, ${runs.size} runs, ${historySize} bytes`);
        if (made >= TRANSITIONS / 10 && heapBefore === 0) heapBefore = process.memoryUsage().heapUsed;
      }
      assert.ok(runs.size > 1, 'it rolled over');
      const grown = (process.memoryUsage().heapUsed - heapBefore) / 2 ** 20;
      assert.ok(grown < HEAP_GROWTH_MEGABYTES, `${grown.toFixed(0)} MB more than after the first tenth`);
    } finally {
      noisy = false;
      await noise;
      world.wish({ phase: 'deleted' });
      await stage.tell();
      await stage.handle.result();
      await stage.close();
    }
    assert.deepEqual([world.containers.size, world.routes.size, world.alive.length], [0, 0, 0]);
  });
});
