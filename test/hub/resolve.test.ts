import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createHub } from '../../hub/client.ts';
import { EndpointsError, type ErrorCode } from '../../spec/errors.ts';
import { freePort } from '../support/ports.ts';
import { noise, onFiles, sha256, type TestHub, testHub } from './fixture.ts';

const MODEL = 'acme/tiny';

describe('resolving a model on the Hub', () => {
  let hub: TestHub;
  const weights = noise(2000);

  before(async () => {
    const manyFiles = Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`f/${i}.txt`, `${i}`]));
    hub = await testHub(
      {
        [MODEL]: {
          files: { 'a.gguf': weights, 'config.json': '{}' },
          settings: {
            branches: ['v1', 'refs/pr/1'],
            pipeline_tag: 'text-generation',
            library_name: 'transformers',
            license: 'apache-2.0',
          },
        },
        'acme/many': { files: manyFiles },
        'acme/gated': { files: { 'a.gguf': weights }, settings: { gated: true } },
        'acme/private': { files: { 'a.gguf': weights }, settings: { private: true } },
      },
      { 'all-access': '*', none: [] },
    );
  });
  after(() => hub.close());
  afterEach(() => {
    hub.fault = null;
  });

  function resolve(
    repository: string,
    { revision = null as string | null, token = null as string | null } = {},
  ) {
    return createHub({ endpoint: hub.url, token }).resolveModel({ repository, revision });
  }

  /** The refusal's message, after its code was checked. */
  async function refusal(code: ErrorCode, resolving: Promise<unknown>): Promise<string> {
    const error = await resolving.then(
      () => assert.fail('was not refused'),
      (e: unknown) => e,
    );
    assert.ok(error instanceof EndpointsError, String(error));
    assert.equal(error.code, code, error.message);
    return error.message;
  }

  it('gives the commit and every file with its checksum', async () => {
    const model = await resolve(MODEL);
    assert.match(model.commit, /^[0-9a-f]{40}$/);
    assert.deepEqual(model, {
      commit: model.commit,
      gated: false,
      private: false,
      pipelineTag: 'text-generation',
      library: 'transformers',
      licence: 'apache-2.0',
      files: [
        { path: 'a.gguf', sizeBytes: weights.length, sha256: sha256(weights), gitSha1: null },
        // `git hash-object` of the two bytes {}.
        {
          path: 'config.json',
          sizeBytes: 2,
          sha256: null,
          gitSha1: '9e26dfeeb6e641a33dae4961196235bdb965b21b',
        },
      ],
    });
  });

  it('takes branches, also with slashes, and commits', async () => {
    const { commit } = await resolve(MODEL);
    for (const revision of ['main', 'v1', 'refs/pr/1', commit])
      assert.equal((await resolve(MODEL, { revision })).commit, commit, revision);
  });

  it('reads a listing of several pages', async () => {
    assert.equal((await resolve('acme/many')).files.length, 1001);
  });

  it('an unknown revision is HUB_REVISION and named', async () => {
    assert.match(await refusal('HUB_REVISION', resolve(MODEL, { revision: 'v9' })), /no revision 'v9'/);
  });

  it('a repository that cannot be seen is HUB_NOT_FOUND, and without a token the message leaves open why', async () => {
    for (const id of ['acme/none', 'acme/private']) {
      assert.match(await refusal('HUB_NOT_FOUND', resolve(id)), /private or gated and needs a Hub token/);
      assert.match(
        await refusal('HUB_NOT_FOUND', resolve(id, { token: 'none' })),
        /the Hub token has no access to it/,
      );
    }
  });

  it('a private repository resolves with a token that has access', async () => {
    assert.equal((await resolve('acme/private', { token: 'all-access' })).private, true);
  });

  it('a gated repository is HUB_GATED without access, though its listing is readable', async () => {
    assert.match(await refusal('HUB_GATED', resolve('acme/gated')), /set a Hub token/);
    assert.match(
      await refusal('HUB_GATED', resolve('acme/gated', { token: 'none' })),
      /was not granted access/,
    );
    assert.equal((await resolve('acme/gated', { token: 'all-access' })).gated, true);
  });

  it('a token the Hub does not know is HUB_AUTH, and is not repeated in the message', async () => {
    const message = await refusal('HUB_AUTH', resolve(MODEL, { token: 'hf_secret_typo' }));
    assert.doesNotMatch(message, /hf_secret_typo/);
  });

  it('a Hub in trouble is asked again', async () => {
    let asked = 0;
    hub.fault = () =>
      ++asked <= 2 ? { kind: 'status', status: 503, headers: { 'retry-after': '0' } } : undefined;
    await resolve(MODEL);
    assert.ok(asked > 2);
  });

  it('a Hub that stays in trouble, or is not there, is HUB_UNREACHABLE', async () => {
    hub.fault = () => ({ kind: 'status', status: 502 });
    assert.match(await refusal('HUB_UNREACHABLE', resolve(MODEL)), /answered 502/);
    const endpoint = `http://127.0.0.1:${await freePort()}`;
    const message = await refusal(
      'HUB_UNREACHABLE',
      createHub({ endpoint, retries: 0 }).resolveModel({ repository: MODEL, revision: null }),
    );
    assert.match(message, /ECONNREFUSED/);
  });

  it('a server that is no Hub is HUB_UNREACHABLE', async () => {
    const server = createServer((_req, res) => res.end('<html>Welcome</html>'));
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const address = server.address();
    assert.ok(typeof address === 'object' && address);
    const other = createHub({ endpoint: `http://127.0.0.1:${address.port}` });
    const message = await refusal(
      'HUB_UNREACHABLE',
      other.resolveModel({ repository: MODEL, revision: null }),
    );
    assert.match(message, /does not answer like a Hub/);
    server.close();
  });

  it('the token does not follow a redirect to another host', async () => {
    const seen: (string | undefined)[] = [];
    const elsewhere = await hub.another(({ headers }) => {
      seen.push(headers.authorization);
      return undefined;
    });
    hub.fault = ({ url, route }) =>
      route?.kind === 'info' ? { kind: 'redirect', location: elsewhere.url + url } : undefined;
    await resolve(MODEL, { token: 'all-access' });
    assert.deepEqual(seen, [undefined]);
  });

  it('asks a gated repository for a file that is really gated', async () => {
    const asked: string[] = [];
    hub.fault = onFiles((request) => {
      asked.push(`${request.method} ${request.route?.path}`);
      return undefined;
    });
    await refusal('HUB_GATED', resolve('acme/gated'));
    assert.deepEqual(asked, ['HEAD a.gguf']);
  });
});
