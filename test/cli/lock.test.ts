import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { takeLock, waitForLock } from '../../cli/up/lock.ts';
import { isAlive, processId } from '../../cli/up/process-id.ts';
import { ended, ROOT } from './support.ts';

describe('cli: lock', () => {
  let dir: string;
  let file: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'lock-'));
    file = join(dir, 'lock');
  });
  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.splice(0).map(ended));
    rmSync(dir, { recursive: true });
  });

  async function takers(count: number): Promise<ChildProcess[]> {
    const script = join(import.meta.dirname, 'fixtures/take-lock.ts');
    const started = Array.from({ length: count }, () =>
      spawn(process.execPath, ['--import', 'tsx', script, file], {
        cwd: ROOT,
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      }),
    );
    children.push(...started);
    await Promise.all(started.map((child) => once(child, 'message')));
    return started;
  }

  async function race(contenders: ChildProcess[]): Promise<boolean[]> {
    const answers = contenders.map((child) => once(child, 'message'));
    for (const child of contenders) child.send('go');
    return (await Promise.all(answers)).map(([answer]) => (answer as { got: boolean }).got);
  }

  it('is refused while its owner lives, and names the owner', async () => {
    const [owner] = await takers(1);
    assert.ok(owner);
    assert.deepEqual(await race([owner]), [true]);
    const result = takeLock(file);
    assert.equal(result.ok, false);
    assert.equal(!result.ok && result.owner.pid, owner.pid);
  });

  it('is taken over from a dead owner by exactly one of several', async () => {
    const [owner, ...contenders] = await takers(5);
    assert.ok(owner);
    await race([owner]);
    owner.kill('SIGKILL');
    await ended(owner);
    const got = await race(contenders);
    assert.equal(got.filter(Boolean).length, 1);
    assert.deepEqual(readdirSync(dir), ['lock']);
  });

  it('is taken over from an owner whose process number belongs to another program by now', () => {
    writeFileSync(file, JSON.stringify({ pid: process.ppid, started: 'long ago' }));
    assert.equal(takeLock(file).ok, true);
  });

  it('is taken over when its file is damaged, also after a taker died at it', () => {
    writeFileSync(file, '{"pid":');
    writeFileSync(`${file}.takeover`, JSON.stringify({ pid: 1, started: 'long ago' }));
    assert.equal(takeLock(file).ok, true);
    assert.deepEqual(readdirSync(dir), ['lock']);
  });

  it('is free again once released', () => {
    const first = takeLock(file);
    assert.ok(first.ok);
    first.lock.release();
    assert.equal(takeLock(file).ok, true);
  });

  it('can be waited for', async () => {
    const [owner] = await takers(1);
    assert.ok(owner);
    await race([owner]);
    const waited: number[] = [];
    const lock = await waitForLock(file, {
      onWait: ({ pid }) => {
        waited.push(pid);
        owner.kill('SIGKILL');
      },
    });
    assert.deepEqual(waited, [owner.pid]);
    lock.release();
    assert.deepEqual(readdirSync(dir), []);
  });

  it('tells a process from one that has ended', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    const id = processId(child.pid ?? 0);
    assert.ok(id && isAlive(id));
    assert.equal(isAlive({ ...id, started: 'another time' }), false);
    child.kill('SIGKILL');
    await ended(child);
    assert.equal(isAlive(id), false);
  });
});
