import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { quietSdk, sharedBundle } from '../workflows/stage.ts';

const FOLDER = join(import.meta.dirname, 'histories');
const recorded = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.json'))
  .sort();
const historyOf = (file: string): unknown => JSON.parse(readFileSync(join(FOLDER, file), 'utf8'));

describe('replay', () => {
  before(quietSdk);

  for (const file of recorded) {
    it(`today's code replays ${file.replace('.json', '')}`, async () => {
      await Worker.runReplayHistory({ workflowBundle: await sharedBundle() }, historyOf(file));
    });
  }

  it('has a history of every workflow', () => {
    const types = recorded.map(
      (file) => JSON.stringify(historyOf(file)).match(/"workflowType":\{"name":"(\w+)"/)?.[1],
    );
    for (const type of ['autoscaler', 'endpoint', 'host', 'janitor', 'replica'])
      assert.ok(types.includes(type), type);
  });

  it('notices code that would do other steps', async () => {
    const { code } = await sharedBundle();
    const changed = code.replace('store.beginReplica(', 'store.reservePlace(');
    assert.notEqual(changed, code);
    const history = historyOf(recorded.find((file) => file.includes('replica-stopped')) ?? '');
    await assert.rejects(
      Worker.runReplayHistory({ workflowBundle: { code: changed } }, history),
      DeterminismViolationError,
    );
  });
});
