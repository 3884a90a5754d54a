import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:net';
import { ApplicationFailure } from '@temporalio/common';
import { familiarName, pullable } from '../../activities/containers/exact.ts';
import { ensureImage } from '../../activities/containers/pull.ts';
import { pullError } from '../../activities/containers/pull-errors.ts';
import { LayerCount, pullMessage } from '../../activities/containers/pull-progress.ts';
import { EndpointsError } from '../../spec/errors.ts';
import { Distribution, LOGIN } from '../support/distribution.ts';
import { needDocker, TestHost } from '../support/docker.ts';
import { needs } from '../support/needs.ts';

describe('containers: the official registry', () => {
  let host: TestHost;
  let registry: Distribution;

  before(async function () {
    await needDocker(this);
    needs(this, 'TEST_REGISTRY');
    host = await TestHost.open();
    registry = await Distribution.start({ login: true });
  });
  after(async () => {
    await registry?.stop(host.docker);
    await host?.close();
  });

  async function pull(image: string, login: typeof LOGIN | null) {
    const { sealed, replicaId } = await host.plan({ secrets: { registry: login } });
    return host.run(host.activities.pullImage, { replicaId, image, sealed });
  }
  async function refusal(image: string, login: typeof LOGIN | null): Promise<ApplicationFailure> {
    const outcome = await pull(image, login).catch((error: unknown) => error);
    assert.ok(outcome instanceof ApplicationFailure, `pulled: ${JSON.stringify(outcome)}`);
    return outcome;
  }

  it('takes the right password, and says how many layers and bytes it has', async () => {
    const { reference } = await registry.publish(host.docker, 'good');
    host.reports.length = 0;
    assert.equal((await pull(reference, LOGIN)).pulled, true);
    assert.match(host.reports.at(-1) ?? '', /^pulling image: 1 of 1 layers, \d of \d MB$/);
  });

  it('refuses the wrong one for good, without a word of it', async () => {
    const { reference } = await registry.publish(host.docker, 'secret');
    const wrong = await refusal(reference, { username: 'u', password: 'not-the-password' });
    assert.deepEqual([wrong.type, wrong.nonRetryable], ['IMAGE_AUTH', true]);
    assert.ok(wrong.message.includes(`${registry.host} refused the given credentials`), wrong.message);
    assert.doesNotMatch(JSON.stringify(wrong), /not-the-password/);
    const none = await refusal(reference, null);
    assert.deepEqual([none.type, none.nonRetryable], ['IMAGE_AUTH', true]);
    assert.match(none.message, /give credentials if it is private/);
  });

  it('is asked by digest once a revision is pinned: a tag that moved changes nothing', async () => {
    const { reference, digest } = await registry.publish(host.docker, 'moves');
    const exact = `${registry.host}/team/tiny@${digest}`;
    const { sealed, replicaId } = await host.plan({ secrets: { registry: LOGIN } });
    const take = (pinned: string | null) =>
      host.run(host.activities.pullImage, { replicaId, image: reference, pinned, sealed });
    assert.deepEqual(await take(null), { pulled: true, image: exact });
    // Another host, as it were: neither the tag nor the image is there, and the tag means another one by now.
    await host.docker.getImage(exact).remove({ force: true });
    const moved = await registry.publish(host.docker, 'moves');
    assert.notEqual(moved.digest, digest);
    assert.deepEqual(await take(exact), { pulled: true, image: exact });
    assert.deepEqual(await take(exact), { pulled: false, image: exact });

    const gone = `${registry.host}/team/tiny@sha256:${'0'.repeat(64)}`;
    const failure = await take(gone).catch((error: ApplicationFailure) => error);
    assert.ok(failure instanceof ApplicationFailure);
    assert.deepEqual([failure.type, failure.nonRetryable], ['IMAGE_NOT_FOUND', true]);
    assert.match(failure.message, /has this digest no longer; update the endpoint/);
  });

  it('may lack an image that was loaded on the host: then its id is what is pinned, as long as it is there', async () => {
    const { replicaId, sealed, container } = await host.plan();
    const { image } = container;
    const { Id } = await host.docker.getImage(image).inspect();
    const take = (pinned: string | null) =>
      host.run(host.activities.pullImage, { replicaId, image, pinned, sealed });
    assert.deepEqual(await take(null), { pulled: false, image: Id });
    assert.deepEqual(await take(Id), { pulled: false, image: Id });
    assert.deepEqual(await take(`sha256:${'0'.repeat(64)}`), { pulled: false, image: Id });
  });

  it('has no such tag, for good', async () => {
    const absent = await refusal(`${registry.host}/team/tiny:absent`, LOGIN);
    assert.deepEqual([absent.type, absent.nonRetryable], ['IMAGE_NOT_FOUND', true]);
  });

  describe('that accepts a connection and says nothing', () => {
    let silent: Server;
    before(async () => {
      silent = createServer();
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    });
    after(() => silent.close());

    it('is given up, to be tried again', async () => {
      const { port } = silent.address() as { port: number };
      const image = `127.0.0.1:${port}/team/tiny:1`;
      const patience = { first: 500, later: 500 };
      await assert.rejects(ensureImage(host.docker, image, { registry: null, patience }), (error) => {
        assert.ok(error instanceof EndpointsError && error.retryable);
        assert.match(error.message, /nothing came for 0\.5 s; check that the host reaches 127\.0\.0\.1/);
        return true;
      });
    });
  });
});

describe('containers: how an image is called', () => {
  const names: [reference: string, familiar: string, pulled: string][] = [
    ['nginx', 'nginx', 'nginx'],
    ['docker.io/library/nginx:1', 'nginx', 'docker.io/library/nginx:1'],
    ['docker.io/team/app', 'team/app', 'docker.io/team/app'],
    ['r.example:5000/a/b:1', 'r.example:5000/a/b', 'r.example:5000/a/b:1'],
    ['r.example:5000/a/b', 'r.example:5000/a/b', 'r.example:5000/a/b'],
    ['r.example/a:1@sha256:00', 'r.example/a', 'r.example/a@sha256:00'],
  ];
  for (const [reference, familiar, pulled] of names)
    it(reference, () => assert.deepEqual([familiarName(reference), pullable(reference)], [familiar, pulled]));
});

describe("containers: what Docker's sentences about a pull mean", () => {
  const table: [said: string, code: string, retryable: boolean][] = [
    [
      'Get "https://r.example/v2/": dial tcp 10.0.0.1:443: connect: connection refused',
      'IMAGE_PULL_FAILED',
      true,
    ],
    ['Get "https://r.example/v2/": dial tcp: lookup r.example: no such host', 'IMAGE_PULL_FAILED', true],
    ['Get "https://r.example/v2/": net/http: TLS handshake timeout', 'IMAGE_PULL_FAILED', true],
    ['Get "https://r.example/v2/": context deadline exceeded', 'IMAGE_PULL_FAILED', true],
    ['received unexpected HTTP status: 503 Service Unavailable', 'IMAGE_PULL_FAILED', true],
    ['toomanyrequests: You have reached your pull rate limit.', 'IMAGE_PULL_FAILED', true],
    ['dial tcp 10.0.0.1:443: connect: permission denied', 'IMAGE_PULL_FAILED', true],
    [
      'Head "https://r.example/v2/a/manifests/1": unauthorized: incorrect username or password',
      'IMAGE_AUTH',
      false,
    ],
    ['Head "https://r.example/v2/a/manifests/1": no basic auth credentials', 'IMAGE_AUTH', false],
    ['Head "https://r.example/v2/a/manifests/1": denied', 'IMAGE_AUTH', false],
    [
      'pull access denied for a/b, repository does not exist or may require docker login',
      'IMAGE_AUTH',
      false,
    ],
    ['manifest for r.example/a:1 not found: manifest unknown: manifest unknown', 'IMAGE_NOT_FOUND', false],
    ['no matching manifest for linux/arm64/v8 in the manifest list entries', 'IMAGE_NOT_FOUND', false],
    ['write /var/lib/docker/tmp/GetImageBlob1: no space left on device', 'DISK_FULL', false],
  ];
  for (const [said, code, retryable] of table) {
    it(said, () => {
      const error = pullError(new Error(said), 'r.example/a:1', true);
      assert.ok(error instanceof EndpointsError);
      assert.deepEqual([error.code, error.retryable], [code, retryable]);
      assert.ok(error.message.endsWith(`Docker said: ${said}`));
    });
  }
});

describe('containers: counting layers', () => {
  it('sums downloads and counts layers that are there', () => {
    const count = new LayerCount();
    assert.equal(count.add({ id: '1.2', status: 'Pulling from team/tiny' }), false);
    for (const id of ['a', 'b', 'c']) assert.equal(count.add({ id, status: 'Pulling fs layer' }), true);
    count.add({ id: 'a', status: 'Already exists' });
    count.add({ id: 'b', status: 'Downloading', progressDetail: { current: 4e6, total: 8e6 } });
    assert.equal(pullMessage(count.progress), 'pulling image: 1 of 3 layers, 4 of 8 MB');
    count.add({ id: 'b', status: 'Download complete' });
    assert.equal(
      count.add({ id: 'b', status: 'Extracting', progressDetail: { current: 1, total: 9e6 } }),
      false,
    );
    count.add({ id: 'b', status: 'Pull complete' });
    assert.equal(pullMessage(count.progress), 'pulling image: 2 of 3 layers, 8 of 8 MB');
  });
});
