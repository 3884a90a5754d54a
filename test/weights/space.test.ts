import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { access, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ApplicationFailure } from '@temporalio/common';
import { createWeightsActivities, evictUnused, snapshotDir } from '../../activities/weights/index.ts';
import { createHub } from '../../hub/client.ts';
import type { WeightsPlan } from '../../spec/lifecycle.ts';
import { noise, resolved, type TestHub, tempDir, testHub } from '../hub/fixture.ts';
import { skip } from '../support/needs.ts';
import { runDownload } from './activity.ts';

const run = promisify(execFile);
const MB = 1_000_000;
const DAY_MS = 24 * 3_600_000;

/** Weights of three models, on a disk of their own that holds two. */
describe('room for weights', () => {
  const models = ['acme/a', 'acme/b', 'acme/c'] as const;
  let hub: TestHub;
  let dir: string;
  const plans = new Map<string, WeightsPlan>();

  before(async function () {
    const mountPoint = await tempDir('small-disk-');
    try {
      await run('mount', ['-t', 'tmpfs', '-o', 'size=10m', 'tmpfs', mountPoint]);
    } catch {
      await rm(mountPoint, { recursive: true });
      skip(this, 'a small disk can only be mounted as root');
    }
    dir = mountPoint;
    hub = await testHub(
      Object.fromEntries(
        models.map((id) => [id, { files: { 'w.gguf': noise(4 * MB), 'config.json': `"${id}"` } }]),
      ),
    );
    for (const id of models) plans.set(id, { repository: id, ...(await resolved(hub.url, id)) });
  });
  after(async () => {
    await hub?.close();
    if (dir) {
      await run('umount', [dir]);
      await rm(dir, { recursive: true });
    }
  });
  afterEach(async () => {
    for (const name of await readdir(dir)) await rm(join(dir, name), { recursive: true });
  });

  function planOf(id: string): WeightsPlan {
    const plan = plans.get(id);
    assert.ok(plan);
    return plan;
  }

  function download(id: string, inUse: readonly string[] | null = null) {
    const { downloadWeights } = createWeightsActivities({
      dir,
      hubEndpoint: hub.url,
      parallel: 2,
      partBytes: MB,
      unseal: async () => ({ env: {}, registry: null, hubToken: null, engineKey: 'k' }),
      report: () => undefined,
      ...(inUse ? { commitsInUse: async () => new Set(inUse) } : {}),
    });
    return runDownload(downloadWeights, {
      replicaId: 'r',
      weights: planOf(id),
      sealed: '',
    });
  }

  /** As if it had last been used so long ago. */
  async function age(id: string, days: number): Promise<void> {
    const then = new Date(Date.now() - days * DAY_MS);
    await utimes(snapshotDir(dir, id, planOf(id).commit), then, then);
  }

  function isPresent(id: string): Promise<boolean> {
    return access(join(snapshotDir(dir, id, planOf(id).commit), 'w.gguf')).then(
      () => true,
      () => false,
    );
  }

  async function diskFull(running: Promise<unknown>): Promise<string> {
    const error = await running.then(
      () => assert.fail('did not fail'),
      (e: unknown) => e,
    );
    assert.ok(error instanceof ApplicationFailure, String(error));
    assert.equal(error.type, 'DISK_FULL', error.message);
    assert.equal(error.nonRetryable, true);
    return error.message;
  }

  it('a download that does not fit is refused before its first byte, with the arithmetic', async () => {
    await download('acme/a');
    await download('acme/b');
    const before = hub.served.length;
    const message = await diskFull(download('acme/c'));
    assert.match(message, /'acme\/c' needs 4\.0 MB more and \/\S+ has 2\.\d MB free/);
    assert.equal(hub.served.length, before);
    assert.ok((await isPresent('acme/a')) && (await isPresent('acme/b')));
  });

  it('what is on disk of an interrupted download counts', async () => {
    await download('acme/a');
    const { files, repository, commit } = planOf('acme/b');
    const blob = join(dir, 'blobs', `sha256-${files.find(({ path }) => path === 'w.gguf')?.sha256}`);
    const stop = new AbortController();
    await assert.rejects(
      createHub({ endpoint: hub.url }).download({
        repository,
        commit,
        files: files.filter(({ path }) => path === 'w.gguf').map((file) => ({ file, destination: blob })),
        parallel: 1,
        partBytes: MB,
        signal: stop.signal,
        onProgress: ({ doneBytes }) => doneBytes > 2 * MB && stop.abort(new Error('enough')),
      }),
      /enough/,
    );
    await writeFile(join(dir, 'other'), Buffer.alloc(1.5 * MB));
    const { downloadedBytes } = await download('acme/b');
    assert.ok(downloadedBytes < 2.1 * MB, `${downloadedBytes}`);
  });

  it('a disk that fills up during the download is DISK_FULL too, and going on later is possible', async () => {
    await download('acme/a');
    const { files, repository, commit } = planOf('acme/b');
    const filler = join(dir, 'filler');
    const request = {
      repository,
      commit,
      files: files.map((file) => ({ file, destination: join(dir, 'd', file.path) })),
      parallel: 1,
      partBytes: MB,
    };
    await writeFile(filler, Buffer.alloc(4 * MB));
    await assert.rejects(createHub({ endpoint: hub.url }).download(request), {
      code: 'DISK_FULL',
      message: /ENOSPC/,
    });
    await rm(filler);
    const { downloadedBytes } = await createHub({ endpoint: hub.url }).download(request);
    assert.ok(downloadedBytes < 4 * MB, `${downloadedBytes}`);
    assert.equal((await readFile(join(dir, 'd', 'w.gguf'))).length, 4 * MB);
  });

  it('weights that nobody uses make room, the longest unused first', async () => {
    await download('acme/a');
    await download('acme/b');
    await age('acme/a', 1);
    await age('acme/b', 2);
    await download('acme/c', []);
    assert.deepEqual(
      await Promise.all(models.map(isPresent)),
      [true, false, true],
      'only the longest unused one had to go',
    );
  });

  it('weights in use are never touched', async () => {
    await download('acme/a');
    await download('acme/b');
    await age('acme/a', 1);
    await age('acme/b', 2);
    await download('acme/c', [planOf('acme/b').commit]);
    assert.deepEqual(await Promise.all(models.map(isPresent)), [false, true, true]);
  });

  it('using weights again makes them the newest', async () => {
    await download('acme/a');
    await download('acme/b');
    await age('acme/a', 2);
    await age('acme/b', 1);
    await download('acme/a');
    await download('acme/c', []);
    assert.deepEqual(await Promise.all(models.map(isPresent)), [true, false, true]);
  });

  it('weights used a moment ago stay: their replica may be about to start', async () => {
    await download('acme/a');
    await download('acme/b');
    await diskFull(download('acme/c', []));
    assert.deepEqual(await Promise.all(models.map(isPresent)), [true, true, false]);
  });

  it('content that two snapshots share stays with the other', async () => {
    await download('acme/a');
    const shared = { ...planOf('acme/a'), repository: 'acme/fork', commit: 'f'.repeat(40) };
    plans.set('acme/fork', shared);
    await download('acme/fork');
    await age('acme/a', 2);
    const freed = await evictUnused(dir, new Set([shared.commit]), 1);
    assert.equal(freed, 0);
    assert.deepEqual([await isPresent('acme/a'), await isPresent('acme/fork')], [false, true]);
  });

  it('old leftovers of interrupted downloads go first', async () => {
    await download('acme/a');
    await age('acme/a', 5);
    const leftover = join(dir, 'blobs', `sha256-${'0'.repeat(64)}.partial`);
    await writeFile(leftover, Buffer.alloc(MB));
    await writeFile(`${leftover}.parts`, 'x');
    await writeFile(leftover.replace('.partial', '.lock'), '{"pid":1,"startedAt":"none"}');
    await writeFile(leftover.replace('.partial', '.lock.1-1'), '{"pid":1,"startedAt":"none"}');
    const freed = await evictUnused(dir, new Set(), MB / 2, { now: Date.now() + 3_600_000 });
    assert.ok(freed >= MB && freed < 1.1 * MB, `${freed}`);
    assert.ok(await isPresent('acme/a'));
    assert.deepEqual(
      (await readdir(join(dir, 'blobs'))).filter((name) => name.includes('partial')),
      [],
    );
  });
});
