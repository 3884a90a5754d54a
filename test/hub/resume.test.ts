import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createHub, type DownloadRequest } from '../../hub/client.ts';
import { partialBytes } from '../../hub/download/partial.ts';
import { eventually } from '../support/eventually.ts';
import { noise, onFiles, resolved, type TestHub, tempDir, testHub } from './fixture.ts';

const MODEL = 'acme/tiny';
const PARALLEL = 4;
const BYTES_PER_SECOND = 1_000_000;
/** What the mirror hands to a slowed connection at once, and may lose when the other end is killed. */
const SLICE = BYTES_PER_SECOND / 100;

describe('a download whose process is killed', () => {
  const weights = noise(8_000_000);
  let hub: TestHub;
  let dir: string;
  let child: ChildProcess | undefined;

  before(async () => {
    hub = await testHub({ [MODEL]: { files: { 'a.gguf': weights } } });
    dir = await tempDir('resume-');
  });
  after(async () => {
    child?.kill('SIGKILL');
    await hub.close();
    await rm(dir, { recursive: true, force: true });
  });

  it('goes on where it was, and next to nothing is downloaded twice', async () => {
    const { commit, files } = await resolved(hub.url, MODEL);
    const [file] = files;
    assert.ok(file);
    const destination = join(dir, 'a.gguf');
    const request: DownloadRequest = {
      repository: MODEL,
      commit,
      files: [{ file, destination }],
      parallel: PARALLEL,
      partBytes: 1_000_000,
    };
    const input = join(dir, 'request.json');
    await writeFile(input, JSON.stringify({ endpoint: hub.url, request }));
    hub.fault = onFiles(() => ({ kind: 'slow', bytesPerSecond: BYTES_PER_SECOND }));

    const kills = [0.2, 0.45, 0.7];
    for (const share of kills) {
      const process_ = spawn(
        process.execPath,
        ['--import', 'tsx', join(import.meta.dirname, 'downloader.ts'), input],
        {
          stdio: 'inherit',
        },
      );
      child = process_;
      const exit = once(process_, 'exit');
      await eventually(
        `${share} of the file on disk`,
        async () => (await partialBytes(destination)) >= share * weights.length,
        { everyMs: 5 },
      );
      process_.kill('SIGKILL');
      await exit;
    }
    const keptBytes = await partialBytes(destination);
    hub.fault = null;
    const { downloadedBytes } = await createHub({ endpoint: hub.url }).download(request);

    assert.deepEqual(await readFile(destination), weights);
    assert.equal(downloadedBytes, weights.length - keptBytes);
    await eventually('the killed connections are over', () => hub.servedBytes() >= weights.length);
    const twice = hub.servedBytes() - weights.length;
    const allowed = kills.length * (0.02 * weights.length + PARALLEL * SLICE);
    assert.ok(twice <= allowed, `${twice} bytes more than the file; ${allowed} allowed`);
    assert.deepEqual((await readdir(dir)).toSorted(), ['a.gguf', 'request.json']);
  });
});
