import assert from 'node:assert/strict';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ActivityCancellationDetails, ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { createWeightsActivities, snapshotDir, type WeightsDeps } from '../../activities/weights/index.ts';
import type { Failure } from '../../spec/errors.ts';
import type { WeightsPlan } from '../../spec/lifecycle.ts';
import { noise, onFiles, resolved, type TestHub, tempDir, testHub } from '../hub/fixture.ts';
import { eventually } from '../support/eventually.ts';
import { activityEnvironment, runDownload } from './activity.ts';

const MODEL = 'acme/tiny';
const weights = noise(2_500_000);

describe('bringing weights to a host', () => {
  let hub: TestHub;
  let dir: string;
  let plan: WeightsPlan;
  let reported: string[];

  beforeEach(async () => {
    hub = await testHub(
      {
        [MODEL]: { files: { 'a.gguf': weights, 'copy.gguf': weights, 'sub/config.json': '{}' } },
        'acme/gated': { files: { 'a.gguf': weights }, settings: { gated: true } },
      },
      { granted: '*' },
    );
    dir = await tempDir('weights-');
    plan = { repository: MODEL, ...(await resolved(hub.url, MODEL)) };
    reported = [];
  });
  afterEach(async () => {
    await hub.close();
    await rm(dir, { recursive: true, force: true });
  });

  function activities(more: Partial<WeightsDeps> = {}) {
    return createWeightsActivities({
      dir,
      hubEndpoint: hub.url,
      parallel: 4,
      partBytes: 256 * 1024,
      // Sealed for these tests: the token itself.
      unseal: async (sealed) => ({ env: {}, registry: null, hubToken: sealed || null, engineKey: 'k' }),
      report: (replicaId, stage, message) => reported.push(`${replicaId} ${stage}: ${message}`),
      ...more,
    });
  }

  function run(
    { weights: wanted = plan, sealed = '', replicaId = 'r-1' } = {},
    { downloadWeights } = activities(),
    env = activityEnvironment(),
  ) {
    return runDownload(downloadWeights, { replicaId, weights: wanted, sealed }, env);
  }

  async function failure(running: Promise<unknown>): Promise<ApplicationFailure> {
    const error = await running.then(
      () => assert.fail('did not fail'),
      (e: unknown) => e,
    );
    assert.ok(error instanceof ApplicationFailure, String(error));
    return error;
  }

  it('puts every file under its name in the folder of the commit, readable for any user', async () => {
    const { downloadedBytes } = await run();
    const root = snapshotDir(dir, MODEL, plan.commit);
    assert.equal(root, join(dir, 'snapshots', 'acme--tiny', plan.commit));
    assert.deepEqual(await readFile(join(root, 'a.gguf')), weights);
    assert.deepEqual(await readFile(join(root, 'copy.gguf')), weights);
    assert.equal(await readFile(join(root, 'sub/config.json'), 'utf8'), '{}');
    for (const folder of [root, join(root, 'sub')]) assert.equal((await stat(folder)).mode & 0o777, 0o755);
    assert.equal((await stat(join(root, 'a.gguf'))).mode & 0o777, 0o644);
    assert.equal(downloadedBytes, weights.length + 2, 'the same content is fetched once');
  });

  it('what is present is not asked for, opened or unsealed again', async () => {
    await run();
    const before = hub.served.length;
    hub.fault = () => ({ kind: 'status', status: 500 });
    const again = activities({ unseal: () => Promise.reject(new Error('unsealed')) });
    assert.deepEqual(await run({}, again), { downloadedBytes: 0 });
    assert.equal(hub.served.length, before);
  });

  it('another repository with the same content downloads nothing', async () => {
    await run();
    const other = { ...plan, repository: 'acme/renamed' };
    assert.deepEqual(await run({ weights: other }), { downloadedBytes: 0 });
    assert.deepEqual(await readFile(join(snapshotDir(dir, 'acme/renamed', plan.commit), 'a.gguf')), weights);
  });

  it('a file that was cut short is replaced', async () => {
    await run();
    const path = join(snapshotDir(dir, MODEL, plan.commit), 'sub/config.json');
    await rm(path);
    await writeFile(path, '{');
    await run();
    assert.equal(await readFile(path, 'utf8'), '{}');
  });

  it('replicas that ask at once share one download, and each sees progress', async () => {
    hub.fault = onFiles(() => ({ kind: 'slow', bytesPerSecond: 400_000 }));
    const host = activities();
    const agentRestarted = activities();
    const results = await Promise.all([
      run({ replicaId: 'r-1' }, host),
      run({ replicaId: 'r-2' }, host),
      run({ replicaId: 'r-3' }, agentRestarted),
    ]);
    assert.deepEqual(
      results.map(({ downloadedBytes }) => downloadedBytes).toSorted((a, b) => a - b),
      [0, 0, weights.length + 2],
    );
    await eventually('all responses are over', () => hub.servedBytes() >= weights.length + 2);
    assert.equal(hub.servedBytes(), weights.length + 2);
    for (const replica of ['r-1', 'r-2', 'r-3'])
      assert.ok(
        reported.some((line) => line.startsWith(`${replica} downloading: downloading 1 of 3 MB`)),
        reported.join('\n'),
      );
  });

  it('heartbeats tell bytes done and in all', async () => {
    const env = activityEnvironment();
    const beats: unknown[] = [];
    env.on('heartbeat', (details) => beats.push(details));
    hub.fault = onFiles(() => ({ kind: 'slow', bytesPerSecond: 250_000 }));
    await run({}, activities(), env);
    const totalBytes = weights.length + 2;
    assert.deepEqual(beats[0], { doneBytes: 0, totalBytes });
    const later = beats.at(-1) as { doneBytes: number; totalBytes: number };
    assert.ok(later.doneBytes > 0 && later.doneBytes <= totalBytes, JSON.stringify(beats));
  });

  it('a cancelled download ends as cancelled, and the next goes on', async () => {
    hub.fault = onFiles(() => ({ kind: 'slow', bytesPerSecond: 300_000 }));
    const env = activityEnvironment();
    const running = run({}, activities(), env);
    running.catch(() => undefined);
    await eventually('some bytes are there', () =>
      reported.some((line) => line.includes('downloading 1 of')),
    );
    env.cancel('CANCELLED', ActivityCancellationDetails.fromProto({ isCancelled: true }));
    await assert.rejects(running, CancelledFailure);
    hub.fault = null;
    const { downloadedBytes } = await run();
    assert.ok(downloadedBytes <= weights.length - 900_000, `${downloadedBytes}`);
  });

  it('a gated repository fails for good without access, and downloads with a token that has it', async () => {
    const gated = { repository: 'acme/gated', ...(await resolved(hub.url, 'acme/gated', 'granted')) };
    const failed = await failure(run({ weights: gated }));
    assert.equal(failed.type, 'HUB_GATED');
    assert.equal(failed.nonRetryable, true);
    const [detail] = failed.details as [Failure];
    assert.equal(detail.code, 'HUB_GATED');
    assert.equal(detail.message, failed.message);
    await run({ weights: gated, sealed: 'granted' });
  });

  it('a Hub in trouble fails so that Temporal tries again', async () => {
    const failed = await failure(
      run({}, activities({ hubEndpoint: 'http://127.0.0.1:9', stallMs: 1000, maxFailures: 1 })),
    );
    assert.equal(failed.type, 'HUB_UNREACHABLE');
    assert.equal(failed.nonRetryable, false);
  });

  it('a damaged file is CHECKSUM_MISMATCH, and no snapshot shows it', async () => {
    hub.fault = onFiles(({ route }) => (route?.path === 'a.gguf' ? { kind: 'flip', atByte: 5 } : undefined));
    const only = { ...plan, files: plan.files.filter(({ path }) => path === 'a.gguf') };
    const failed = await failure(run({ weights: only }));
    assert.equal(failed.type, 'CHECKSUM_MISMATCH');
    assert.equal(failed.nonRetryable, true);
    await assert.rejects(stat(join(snapshotDir(dir, MODEL, plan.commit), 'a.gguf')));
  });

  it('a path or a name that leads elsewhere is refused', async () => {
    for (const path of ['../../escape', '/etc/x', 'a//b', 'a/./b', 'a\0b']) {
      const [file] = plan.files;
      assert.ok(file);
      const failed = await failure(run({ weights: { ...plan, files: [{ ...file, path }] } }));
      assert.equal(failed.type, 'VALIDATION_FAILED', path);
    }
    for (const repository of ['..', 'a/..', '../x'])
      assert.throws(() => snapshotDir(dir, repository, plan.commit));
    assert.throws(() => snapshotDir(dir, MODEL, '../../x'));
  });
});
