import assert from 'node:assert/strict';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createHub, type DownloadRequest } from '../../hub/client.ts';
import { EndpointsError, type ErrorCode } from '../../spec/errors.ts';
import type { WeightFile } from '../../spec/lifecycle.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';
import { noise, onFiles, resolved, type TestHub, tempDir, testHub } from './fixture.ts';

const MODEL = 'acme/tiny';
const PART = 64 * 1024;
const weights = noise(1_000_000);

describe('downloading from the Hub', () => {
  let hub: TestHub;
  let dir: string;
  let plan: { commit: string; files: WeightFile[] };

  beforeEach(async () => {
    hub = await testHub({
      [MODEL]: {
        files: { 'a.gguf': weights, 'config.json': '{}', 'empty.txt': '', 'sub/b c#?.txt': 'hello' },
      },
    });
    dir = await tempDir('download-');
    plan = await resolved(hub.url, MODEL);
  });
  afterEach(async () => {
    await hub.close();
    await rm(dir, { recursive: true, force: true });
  });

  function download(more: Partial<DownloadRequest> & { token?: string; names?: string[] } = {}) {
    const { token, names, ...rest } = more;
    const files = plan.files.filter(({ path }) => !names || names.includes(path));
    return createHub({ endpoint: hub.url, token: token ?? null }).download({
      repository: MODEL,
      commit: plan.commit,
      files: files.map((file) => ({ file, destination: join(dir, file.path) })),
      parallel: 4,
      partBytes: PART,
      backoff: { baseMs: 5, maxMs: 20 },
      ...rest,
    });
  }

  async function assertWhole(): Promise<void> {
    assert.deepEqual(await readFile(join(dir, 'a.gguf')), weights);
    assert.deepEqual(
      (await readdir(dir)).filter((name) => name.includes('.partial')),
      [],
    );
  }

  async function failure(code: ErrorCode, downloading: Promise<unknown>): Promise<string> {
    const error = await downloading.then(
      () => assert.fail('did not fail'),
      (e: unknown) => e,
    );
    assert.ok(error instanceof EndpointsError, String(error));
    assert.equal(error.code, code, error.message);
    return error.message;
  }

  it('brings large, small, empty and oddly named files, readable, with nothing left beside them', async () => {
    const { downloadedBytes } = await download();
    await assertWhole();
    assert.equal(downloadedBytes, weights.length + 2 + 0 + 5);
    assert.equal(await readFile(join(dir, 'sub/b c#?.txt'), 'utf8'), 'hello');
    assert.equal((await stat(join(dir, 'empty.txt'))).size, 0);
    assert.equal((await stat(join(dir, 'a.gguf'))).mode & 0o777, 0o644);
    assert.deepEqual((await readdir(dir)).toSorted(), ['a.gguf', 'config.json', 'empty.txt', 'sub']);
  });

  it('asks for ranges, only so many at once', async () => {
    let asked = 0;
    let most = 0;
    hub.fault = onFiles(() => {
      most = Math.max(most, ++asked - hub.served.length);
      return { kind: 'slow', bytesPerSecond: 1_000_000 };
    });
    await download({ names: ['a.gguf'], parallel: 3 });
    const parts = Math.ceil(weights.length / PART);
    await eventually('all responses are over', () => hub.served.length === parts);
    assert.ok(hub.served.every(({ status }) => status === 206));
    // The mirror may learn that a response is over only after the client has asked for the next part.
    assert.ok(most >= 3 && most <= 6, `${most} at once`);
  });

  it('progress ends at everything and never passes it', async () => {
    const seen: number[] = [];
    await download({ onProgress: ({ doneBytes, totalBytes }) => seen.push(doneBytes / totalBytes) });
    assert.equal(seen.at(-1), 1);
    assert.ok(Math.max(...seen) <= 1);
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => a - b),
    );
  });

  it('a byte that was flipped once is found, and the file fetched again whole', async () => {
    hub.fault = onFiles((_request, count) =>
      count === 3 ? { kind: 'flip', atByte: 2 * PART + 17 } : undefined,
    );
    const { downloadedBytes } = await download({ names: ['a.gguf'], parallel: 1 });
    await assertWhole();
    assert.equal(downloadedBytes, 2 * weights.length);
  });

  it('a byte that is flipped always is CHECKSUM_MISMATCH naming the file, and nothing stays', async () => {
    hub.fault = onFiles(() => ({ kind: 'flip', atByte: 70_000 }));
    assert.match(await failure('CHECKSUM_MISMATCH', download({ names: ['a.gguf'] })), /'a\.gguf'/);
    assert.deepEqual(await readdir(dir), []);
    await eventually('all responses are over', () => hub.servedBytes() === 2 * weights.length);
  });

  it('the checksum of a small file, which git keeps itself, is verified too', async () => {
    hub.fault = onFiles(() => ({ kind: 'flip', atByte: 0 }));
    assert.match(await failure('CHECKSUM_MISMATCH', download({ names: ['config.json'] })), /config\.json/);
  });

  it('a connection that is cut costs no byte twice', async () => {
    hub.fault = onFiles((_request, count) => (count % 2 ? { kind: 'cut', afterBytes: 40_000 } : undefined));
    const { downloadedBytes } = await download({ names: ['a.gguf'], partBytes: 200_000 });
    await assertWhole();
    assert.equal(downloadedBytes, weights.length);
  });

  it('a body that ends early without an error is noticed and continued', async () => {
    hub.fault = onFiles((_request, count) =>
      count === 2 ? { kind: 'short', afterBytes: 10_000 } : undefined,
    );
    const { downloadedBytes } = await download({ names: ['a.gguf'] });
    await assertWhole();
    assert.equal(downloadedBytes, weights.length);
  });

  it('a body that always ends before its first byte is DOWNLOAD_FAILED in the end', async () => {
    hub.fault = onFiles(() => ({ kind: 'short', afterBytes: 0 }));
    assert.match(await failure('DOWNLOAD_FAILED', download({ names: ['a.gguf'] })), /ended early/);
  });

  it('a transfer that stands still is cut and asked for again', async () => {
    hub.fault = onFiles((_request, count) => (count === 1 ? { kind: 'stall', afterBytes: 1000 } : undefined));
    await download({ names: ['a.gguf'], stallMs: 1000 });
    await assertWhole();
  });

  it('429 with Retry-After pauses all requests for that long', async () => {
    let limitedAt = 0;
    let nextAfterMs = Number.POSITIVE_INFINITY;
    hub.fault = onFiles((_request, count) => {
      if (count === 3) {
        limitedAt = Date.now();
        return { kind: 'status', status: 429, headers: { 'retry-after': '0.4' } };
      }
      // What was under way already may still come in at the same moment.
      if (limitedAt && Date.now() - limitedAt > 50)
        nextAfterMs = Math.min(nextAfterMs, Date.now() - limitedAt);
      return undefined;
    });
    await download({ names: ['a.gguf'], parallel: 1 });
    await assertWhole();
    assert.ok(nextAfterMs >= 395, `${nextAfterMs} ms`);
  });

  it('server errors are retried, and reported when they do not end', async () => {
    hub.fault = onFiles((_request, count) => (count <= 3 ? { kind: 'status', status: 503 } : undefined));
    await download({ names: ['a.gguf'] });
    await assertWhole();
    await rm(join(dir, 'a.gguf'));
    hub.fault = onFiles(() => ({ kind: 'status', status: 500 }));
    assert.match(await failure('DOWNLOAD_FAILED', download({ names: ['a.gguf'] })), /answered 500/);
  });

  it('a server that knows no ranges serves all the same, each file once', async () => {
    hub.fault = onFiles(() => ({ kind: 'ignoreRange' }));
    await download();
    await assertWhole();
    await eventually('all responses are over', () => hub.served.length === 3);
    assert.equal(hub.servedBytes(), weights.length + 2 + 5);
  });

  it('a server that forgets ranges on the way serves all the same', async () => {
    hub.fault = onFiles((_request, count) => (count > 4 ? { kind: 'ignoreRange' } : undefined));
    const { downloadedBytes } = await download({ names: ['a.gguf'], parallel: 2 });
    await assertWhole();
    assert.equal(downloadedBytes, weights.length);
  });

  it('without ranges, what an earlier attempt has is kept', async () => {
    hub.fault = onFiles((request) =>
      request.headers.range === 'bytes=0-65535' ? undefined : { kind: 'status', status: 500 },
    );
    await failure('DOWNLOAD_FAILED', download({ names: ['a.gguf'], parallel: 1 }));
    hub.fault = onFiles(() => ({ kind: 'ignoreRange' }));
    const { downloadedBytes } = await download({ names: ['a.gguf'] });
    await assertWhole();
    assert.equal(downloadedBytes, weights.length - PART);
  });

  it('takes up what another attempt with other parts left', async () => {
    hub.fault = onFiles((_request, count) => (count > 2 ? { kind: 'status', status: 500 } : undefined));
    await failure('DOWNLOAD_FAILED', download({ names: ['a.gguf'], parallel: 1, partBytes: 100_000 }));
    hub.fault = null;
    const { downloadedBytes } = await download({ names: ['a.gguf'], partBytes: 30_000 });
    await assertWhole();
    assert.equal(downloadedBytes, weights.length - 200_000);
  });

  it('a damaged record of what is there only costs the download', async () => {
    hub.fault = onFiles((_request, count) => (count > 2 ? { kind: 'status', status: 500 } : undefined));
    await failure('DOWNLOAD_FAILED', download({ names: ['a.gguf'], parallel: 1 }));
    hub.fault = null;
    await writeFile(join(dir, 'a.gguf.partial.parts'), 'garbage');
    assert.equal((await download({ names: ['a.gguf'] })).downloadedBytes, weights.length);
    await assertWhole();
  });

  it('a record that promises bytes which are not there is found by the checksum', async () => {
    hub.fault = onFiles((_request, count) => (count > 2 ? { kind: 'status', status: 500 } : undefined));
    await failure('DOWNLOAD_FAILED', download({ names: ['a.gguf'], parallel: 1 }));
    hub.fault = null;
    await writeFile(join(dir, 'a.gguf.partial'), Buffer.alloc(weights.length));
    await download({ names: ['a.gguf'] });
    await assertWhole();
  });

  it('stops at once when aborted, and keeps what it has', async () => {
    hub.fault = onFiles(() => ({ kind: 'slow', bytesPerSecond: 200_000 }));
    const stop = new AbortController();
    const reason = new Error('enough');
    const aborted = download({
      names: ['a.gguf'],
      signal: stop.signal,
      onProgress: ({ doneBytes }) => doneBytes > 100_000 && stop.abort(reason),
    });
    await assert.rejects(aborted, reason);
    hub.fault = null;
    const { downloadedBytes } = await download({ names: ['a.gguf'] });
    await assertWhole();
    assert.ok(downloadedBytes < weights.length - 100_000, `${downloadedBytes}`);
  });

  it('a file that is not there is HUB_NOT_FOUND naming it', async () => {
    await rm(join(hub.dir, MODEL, 'sub'), { recursive: true });
    const again = await hub.another();
    const { commit } = await resolved(again.url, MODEL);
    const file = { path: 'sub/b c#?.txt', sizeBytes: 5, sha256: null, gitSha1: null };
    const message = await failure(
      'HUB_NOT_FOUND',
      createHub({ endpoint: again.url }).download({
        repository: MODEL,
        commit,
        files: [{ file, destination: join(dir, 'b') }],
        parallel: 1,
        partBytes: PART,
      }),
    );
    assert.match(message, /no file 'sub\/b c#\?\.txt'/);
  });

  it('an answer of another length is not taken for the file', async () => {
    await writeFile(join(hub.dir, MODEL, '.mirror.json'), JSON.stringify({ commit: plan.commit }));
    await writeFile(join(hub.dir, MODEL, 'a.gguf'), '<html>Please log in</html>');
    const again = await hub.another();
    hub.fault = ({ url }) => ({ kind: 'redirect', location: again.url + url });
    const only = { names: ['a.gguf'], maxFailures: 2 };
    assert.match(await failure('DOWNLOAD_FAILED', download(only)), /something else/);
  });

  it('a Hub that is not there is HUB_UNREACHABLE', async () => {
    const endpoint = `http://127.0.0.1:${await freePort()}`;
    const [file] = plan.files;
    assert.ok(file);
    const message = await failure(
      'HUB_UNREACHABLE',
      createHub({ endpoint }).download({
        repository: MODEL,
        commit: plan.commit,
        files: [{ file, destination: join(dir, 'a') }],
        parallel: 2,
        partBytes: PART,
        maxFailures: 2,
        backoff: { baseMs: 1, maxMs: 1 },
      }),
    );
    assert.match(message, /ECONNREFUSED/);
  });

  it('follows the redirect to a content network without the token, and asks the Hub once', async () => {
    const authorizations: (string | undefined)[] = [];
    const network = await hub.another(({ headers }) => {
      authorizations.push(headers.authorization);
      return undefined;
    });
    const asked: (string | undefined)[] = [];
    hub.fault = onFiles(({ headers, url }) => {
      asked.push(headers.authorization);
      return { kind: 'redirect', location: network.url + url };
    });
    await download({ names: ['a.gguf'], parallel: 1, token: 'hf_secret' });
    await assertWhole();
    assert.deepEqual(asked, ['Bearer hf_secret']);
    assert.equal(authorizations.length, Math.ceil(weights.length / PART));
    assert.ok(authorizations.every((value) => value === undefined));
  });

  it('an address of the content network that has expired is asked for anew', async () => {
    let expired = 0;
    const network = await hub.another(({ url }) => {
      if (!url.includes('signature=1') || ++expired < 4) return undefined;
      return { kind: 'status', status: 403 };
    });
    let signature = 0;
    hub.fault = onFiles(({ url }) => ({
      kind: 'redirect',
      location: `${network.url}${url}?signature=${++signature}`,
    }));
    await download({ names: ['a.gguf'], parallel: 1 });
    await assertWhole();
    assert.equal(signature, 2);
  });
});
