import assert from 'node:assert/strict';
import { ApplicationFailure } from '@temporalio/common';
import { registryOf } from '../../activities/containers/pull-errors.ts';
import { ENGINE_IMAGE, needDocker, TestHost } from '../support/docker.ts';
import { TestRegistry } from '../support/registry.ts';

describe('containers: pulling an image', () => {
  let host: TestHost;
  const registries: TestRegistry[] = [];

  before(async function () {
    await needDocker(this);
    host = await TestHost.open();
  });
  after(async () => {
    for (const registry of registries) {
      registry.stop();
      await host.docker
        .getImage(registry.image)
        .remove({ force: true })
        .catch(() => undefined);
    }
    await host?.close();
  });

  async function registry(login?: { username: string; password: string }): Promise<TestRegistry> {
    const started = await TestRegistry.start(login);
    registries.push(started);
    return started;
  }

  async function pull(image: string, login: { username: string; password: string } | null = null) {
    const { sealed, replicaId } = await host.plan({ secrets: { registry: login } });
    return host.run(host.activities.pullImage, { replicaId, image, sealed });
  }

  async function failure(image: string, login: { username: string; password: string } | null = null) {
    try {
      await pull(image, login);
    } catch (error) {
      assert.ok(error instanceof ApplicationFailure, String(error));
      return error;
    }
    throw new Error('it was pulled');
  }

  it('does not ask a registry for an image the engine has', async () => {
    assert.equal((await pull(ENGINE_IMAGE)).pulled, false);
  });

  it('pulls, says how far it is, and pulls no second time', async () => {
    const { image } = await registry();
    host.reports.length = 0;
    assert.equal((await pull(image)).pulled, true);
    assert.match(host.reports.at(0) ?? '', /^pulling image: 0 of 1 layers, [0-3] of [0-3] MB$/);
    assert.equal(host.reports.at(-1), 'pulling image: 1 of 1 layers, 3 of 3 MB');
    assert.equal((await pull(image)).pulled, false);
  });

  it('pulls one image for several replicas at once', async () => {
    const { image } = await registry();
    await Promise.all([pull(image), pull(image)]);
    assert.equal((await pull(image)).pulled, false);
  });

  it("uses the owner's registry credentials", async () => {
    const login = { username: 'u', password: 'pass-of-the-registry' };
    const { image } = await registry(login);
    const wrong = await failure(image, { username: 'u', password: 'wrong-password' });
    assert.equal(wrong.type, 'IMAGE_AUTH');
    assert.match(wrong.message, /refused the given credentials; check model\.image\.custom\.credentials/);
    assert.doesNotMatch(JSON.stringify(wrong), /wrong-password/);
    const none = await failure(image);
    assert.match(none.message, /give credentials if it is private/);
    assert.equal((await pull(image, login)).pulled, true);
  });

  it('says that a tag does not exist, and does not try again', async () => {
    const { host: address } = await registry();
    const error = await failure(`${address}/team/tiny:nope`);
    assert.equal(error.type, 'IMAGE_NOT_FOUND');
    assert.equal(error.nonRetryable, true);
    assert.match(error.message, /team\/tiny:nope: the registry has no such image; check name and tag/);
  });

  it('says that a registry is not reachable, and may try again', async () => {
    const error = await failure('127.0.0.1:9/team/tiny:1');
    assert.equal(error.type, 'IMAGE_PULL_FAILED');
    assert.equal(error.nonRetryable, false);
    assert.match(error.message, /127\.0\.0\.1:9\/team\/tiny:1.*check that the host reaches 127\.0\.0\.1:9\./);
  });

  it('says that a reference is none', async () => {
    const error = await failure('Not A Reference');
    assert.equal(error.type, 'IMAGE_NOT_FOUND');
    assert.match(error.message, /not an image reference/);
  });
});

describe('registry of an image', () => {
  const table: [string, string][] = [
    ['nginx', 'https://index.docker.io/v1/'],
    ['team/app:1', 'https://index.docker.io/v1/'],
    ['ghcr.io/a/b:1', 'ghcr.io'],
    ['localhost/a', 'localhost'],
    ['10.0.0.1:5000/a/b@sha256:00', '10.0.0.1:5000'],
  ];
  for (const [image, expected] of table) it(image, () => assert.equal(registryOf(image), expected));
});
