import assert from 'node:assert/strict';
import { readFile, symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { noise, sha256, type TestHub, testHub } from './fixture.ts';

const MODEL = 'acme/tiny';

describe('the mirror', () => {
  let hub: TestHub;
  const weights = noise(300_000);

  beforeEach(async () => {
    hub = await testHub({ [MODEL]: { files: { 'a.gguf': weights, 'sub/b.txt': 'hello' } } });
  });
  afterEach(() => hub.close());

  /** The status line's code, for a path that no HTTP client would send unchanged. */
  async function rawStatus(path: string): Promise<number> {
    const { port } = new URL(hub.url);
    const socket = connect(Number(port), '127.0.0.1');
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
    let text = '';
    for await (const chunk of socket) text += chunk;
    return Number(text.split(' ')[1]);
  }

  async function commit(): Promise<string> {
    const response = await fetch(`${hub.url}/api/models/${MODEL}`);
    return ((await response.json()) as { sha: string }).sha;
  }

  it('answers a range with that range, ETag, commit and LFS headers', async () => {
    const response = await fetch(`${hub.url}/${MODEL}/resolve/main/a.gguf`, {
      headers: { range: 'bytes=10-19' },
    });
    assert.equal(response.status, 206);
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), weights.subarray(10, 20));
    assert.equal(response.headers.get('content-range'), `bytes 10-19/${weights.length}`);
    assert.equal(response.headers.get('etag'), `"${sha256(weights)}"`);
    assert.equal(response.headers.get('x-linked-etag'), `"${sha256(weights)}"`);
    assert.equal(response.headers.get('x-linked-size'), String(weights.length));
    assert.equal(response.headers.get('accept-ranges'), 'bytes');
    assert.equal(response.headers.get('x-repo-commit'), await commit());
  });

  it('answers open, suffix and impossible ranges as HTTP asks', async () => {
    const get = (range: string) => fetch(`${hub.url}/${MODEL}/resolve/main/a.gguf`, { headers: { range } });
    const body = async (range: string) => Buffer.from(await (await get(range)).arrayBuffer());
    assert.deepEqual(await body('bytes=299990-'), weights.subarray(299_990));
    assert.deepEqual(await body('bytes=-5'), weights.subarray(-5));
    assert.equal((await get('bytes=300000-')).status, 416);
    assert.equal((await get('lines=1-2')).status, 200);
  });

  it('a range made conditional on another version brings the whole file', async () => {
    const response = await fetch(`${hub.url}/${MODEL}/resolve/main/a.gguf`, {
      headers: { range: 'bytes=0-9', 'if-range': '"other"' },
    });
    assert.equal(response.status, 200);
    assert.equal((await response.arrayBuffer()).byteLength, weights.length);
  });

  it('HEAD tells the size and sends nothing', async () => {
    const response = await fetch(`${hub.url}/${MODEL}/resolve/main/sub/b.txt`, { method: 'HEAD' });
    assert.equal(response.headers.get('content-length'), '5');
    assert.equal(await response.text(), '');
  });

  it('no path leads out of a repository', async () => {
    await writeFile(join(hub.dir, 'secret.txt'), 'secret');
    const paths = [
      '/../secret.txt',
      `/${MODEL}/resolve/main/../../../secret.txt`,
      `/${MODEL}/resolve/main/..%2f..%2fsecret.txt`,
      `/${MODEL}/resolve/main/%2e%2e/%2e%2e/secret.txt`,
      '/acme/../resolve/main/secret.txt',
      '/acme/%2e%2e/resolve/main/secret.txt',
      '/../../resolve/main/secret.txt',
      '/%2e%2e/%2e%2e/resolve/main/etc/passwd',
      '/acme%2f../x/resolve/main/secret.txt',
      `/${MODEL}/resolve/main//etc/passwd`,
      `/${MODEL}/resolve/main/%00`,
      `/${MODEL}/resolve/main/%`,
      '/api/models/../..',
      `/api/models/${MODEL}/tree/main/../..`,
    ];
    for (const path of paths) {
      const status = await rawStatus(path);
      assert.ok(status === 404 || status === 401 || status === 400, `${path}: ${status}`);
    }
    assert.equal(await rawStatus(`/${MODEL}/resolve/main/sub/b.txt`), 200);
  });

  it('its own files are not part of the repository', async () => {
    await commit();
    assert.equal(await rawStatus(`/${MODEL}/resolve/main/.mirror-digests.json`), 404);
    const response = await fetch(`${hub.url}/api/models/${MODEL}/tree/main?recursive=true`);
    const paths = ((await response.json()) as { path: string }[]).map((row) => row.path);
    assert.deepEqual(paths, ['a.gguf', 'sub', 'sub/b.txt']);
  });

  it('serves what a link in the folder points to', async () => {
    const elsewhere = join(hub.dir, 'big.bin');
    await writeFile(elsewhere, 'linked');
    await symlink(elsewhere, join(hub.dir, MODEL, 'linked.bin'));
    const response = await fetch(`${hub.url}/${MODEL}/resolve/main/linked.bin`);
    assert.equal(await response.text(), 'linked');
  });

  it('the same files are the same commit after a restart, and are not read again for it', async () => {
    const before = await commit();
    const cacheFile = join(hub.dir, MODEL, '.mirror-digests.json');
    // A marked checksum shows whether it was taken from the cache.
    const cached = (await readFile(cacheFile, 'utf8')).replace(sha256(weights), 'f'.repeat(64));
    await writeFile(cacheFile, cached);
    const again = await hub.another();
    const response = await fetch(`${again.url}/${MODEL}/resolve/main/a.gguf`, { method: 'HEAD' });
    assert.equal(response.headers.get('etag'), `"${'f'.repeat(64)}"`);
    assert.equal(response.headers.get('x-repo-commit'), before);
  });

  it('a changed file is another commit', async () => {
    const before = await commit();
    await writeFile(join(hub.dir, MODEL, 'sub/b.txt'), 'hello again');
    const again = await hub.another();
    const response = await fetch(`${again.url}/api/models/${MODEL}/revision/main`);
    const old = await fetch(`${again.url}/api/models/${MODEL}/revision/${before}`);
    assert.notEqual(((await response.json()) as { sha: string }).sha, before);
    assert.equal(old.headers.get('x-error-code'), 'RevisionNotFound');
  });

  it('a settings file that is not usable is named in the answer', async () => {
    await writeFile(join(hub.dir, MODEL, '.mirror.json'), '{"gatde": true}');
    const response = await fetch(`${hub.url}/api/models/${MODEL}`);
    assert.equal(response.status, 500);
    assert.match(((await response.json()) as { error: string }).error, /\.mirror\.json is not usable/);
  });

  it('without a list of tokens, a token changes nothing', async () => {
    const response = await fetch(`${hub.url}/api/models/${MODEL}`, {
      headers: { authorization: 'Bearer hf_x' },
    });
    assert.equal(response.status, 200);
  });
});
