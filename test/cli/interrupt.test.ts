import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { ended, ROOT } from './support.ts';

describe('cli: Ctrl-C', () => {
  let child: ChildProcess;
  beforeEach(async () => {
    const file = join(import.meta.dirname, 'fixtures/interrupt.ts');
    child = spawn(process.execPath, ['--import', 'tsx', file], {
      cwd: ROOT,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    await once(child, 'message');
    child.kill('SIGINT');
    await once(child, 'message');
  });
  afterEach(async () => {
    child.kill('SIGKILL');
    await ended(child);
  });

  it('that npm passes on a second time still stops in order', async () => {
    child.kill('SIGINT');
    await setTimeout(50);
    child.send('stopped');
    await ended(child);
    assert.equal(child.exitCode, 0);
  });

  it('pressed once more stops at once', async () => {
    await setTimeout(600);
    child.kill('SIGINT');
    await ended(child);
    assert.equal(child.exitCode, 130);
  });
});
