import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isLocked, withLock } from '../../hub/download/lock.ts';
import { eventually } from '../support/eventually.ts';
import { tempDir } from './fixture.ts';

describe('a lock on a file being downloaded', () => {
  let dir: string;
  let path: string;

  beforeEach(async () => {
    dir = await tempDir('lock-');
    path = join(dir, 'blob.lock');
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('lets one work at a time, and all in the end', async () => {
    let inside = 0;
    let done = 0;
    const work = async () => {
      assert.equal(++inside, 1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      inside--;
      done++;
    };
    await Promise.all(Array.from({ length: 8 }, () => withLock(path, work)));
    assert.equal(done, 8);
    assert.deepEqual(await readdir(dir), []);
  });

  it('is given back when the work fails', async () => {
    const failing = withLock(path, () => Promise.reject(new Error('no')));
    await assert.rejects(failing, /no/);
    assert.equal(await isLocked(path), false);
    assert.equal(await withLock(path, async () => 1), 1);
  });

  it('waiting ends when aborted, and leaves nothing', async () => {
    await withLock(path, async () => {
      const reason = new Error('enough');
      await assert.rejects(
        withLock(path, async () => assert.fail('got in'), AbortSignal.abort(reason)),
        reason,
      );
      assert.deepEqual(await readdir(dir), ['blob.lock']);
    });
  });

  it('is held against another process, and taken over when that one is killed', async () => {
    const script = join(dir, 'holder.ts');
    const lock = join(import.meta.dirname, '../../hub/download/lock.ts');
    await writeFile(
      script,
      `import { withLock } from ${JSON.stringify(lock)};
setInterval(() => {}, 1000);
withLock(${JSON.stringify(path)}, () => new Promise(() => {}));`,
    );
    const holder = spawn(process.execPath, ['--import', 'tsx', script], {
      cwd: join(import.meta.dirname, '../..'),
      stdio: 'inherit',
    });
    try {
      await eventually('the other process has it', () => isLocked(path));
      let got = false;
      const waiting = withLock(path, async () => {
        got = true;
      });
      await new Promise((resolve) => setTimeout(resolve, 150));
      assert.equal(got, false);
      const exit = once(holder, 'exit');
      holder.kill('SIGKILL');
      await exit;
      await waiting;
      assert.equal(got, true);
    } finally {
      holder.kill('SIGKILL');
    }
  });

  it('of a process whose number was given to another is taken over', async () => {
    await withLock(path, async () => {
      const { pid } = JSON.parse(await readFile(path, 'utf8')) as { pid: number };
      await writeFile(join(dir, 'old.lock'), JSON.stringify({ pid, startedAt: '1' }));
    });
    assert.equal(await isLocked(join(dir, 'old.lock')), false);
    assert.equal(await withLock(join(dir, 'old.lock'), async () => 1), 1);
  });
});
