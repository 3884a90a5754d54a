import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { dockerClient, dockerVersion, findDocker } from '../../cli/services/docker.ts';
import { ensureEngineImage } from '../../cli/services/engine-image.ts';
import { onPath } from '../../cli/services/exec.ts';
import { startPrivateDocker } from '../../cli/services/private-docker.ts';
import { writeState } from '../../cli/up/state.ts';
import { LABELS } from '../../spec/names.ts';
import { needs, skip } from '../support/needs.ts';
import { endpoints, testInstallation } from './support.ts';

describe('cli: Docker', () => {
  it('that DOCKER_HOST names is used or missed, but never replaced by another', async () => {
    await assert.rejects(
      findDocker({ DOCKER_HOST: 'unix:///nowhere/docker.sock' }),
      /no Docker engine answers at DOCKER_HOST=unix:\/\/\/nowhere\/docker\.sock: start it, or unset DOCKER_HOST/,
    );
  });

  it('of a test run leaves no process, network, mount or folder behind', async function () {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) skip(this, 'needs root on Linux');
    if (!(await onPath('dockerd'))) skip(this, 'dockerd is not installed');
    const dir = join(mkdtempSync(join(tmpdir(), 'private-docker-')), 'engine');
    const engine = await startPrivateDocker({ dir });
    const socket = engine.host.slice('unix://'.length);
    try {
      assert.ok(await dockerVersion(engine.host));
      const network = await dockerClient(engine.host).createNetwork({
        Name: 'left-behind',
        Driver: 'bridge',
      });
      const bridge = `br-${network.id.slice(0, 12)}`;
      assert.ok(readdirSync('/sys/class/net').includes(bridge));
      await engine.stop();
      assert.equal(readdirSync('/sys/class/net').includes(bridge), false);
      assert.equal(networkInterfaces()[bridge], undefined);
    } finally {
      rmSync(join(dir, '..'), { recursive: true, force: true });
    }
    assert.equal(await dockerVersion(engine.host), undefined);
    assert.equal(existsSync(join(socket, '..')), false);
    assert.doesNotMatch(readFileSync('/proc/self/mounts', 'utf8'), new RegExp(dir));
  });

  describe('with an engine', () => {
    before(function () {
      needs(this, 'DOCKER_HOST', 'TEST_LLAMACPP_IMAGE');
    });

    it('that has the image is not asked to fetch it', async () => {
      const progress: string[] = [];
      const source = await ensureEngineImage({
        docker: dockerClient(process.env.DOCKER_HOST ?? ''),
        image: process.env.TEST_LLAMACPP_IMAGE ?? '',
        cacheDir: '/nowhere',
        onProgress: (text) => progress.push(text),
      });
      assert.deepEqual([source, progress], ['present', []]);
    });

    it("loses the containers and the network of one installation by 'down', and no other's", async () => {
      const docker = dockerClient(process.env.DOCKER_HOST ?? '');
      const [ours, others] = [randomBytes(4).toString('hex'), randomBytes(4).toString('hex')];
      const installation = await testInstallation();
      const make = (id: string) =>
        docker.createContainer({
          Image: process.env.TEST_LLAMACPP_IMAGE ?? '',
          Labels: { [LABELS.installation]: id },
          HostConfig: { NetworkMode: `endpoints-${id}` },
        });
      const networks = await Promise.all(
        [ours, others].map((id) => docker.createNetwork({ Name: `endpoints-${id}`, Driver: 'bridge' })),
      );
      const containers = await Promise.all([make(ours), make(others)]);
      try {
        writeState(installation.dataDir, {
          supervisor: null,
          processes: [],
          databaseUrl: null,
          dockerHost: process.env.DOCKER_HOST ?? '',
          installation: ours,
        });
        const outcome = await endpoints(['down'], installation.env);
        assert.deepEqual(outcome, { code: 0, stdout: 'removed 1 engine container\n', stderr: '' });
        await assert.rejects(containers[0].inspect(), /no such container/i);
        await assert.rejects(networks[0]?.inspect() ?? Promise.resolve(), /not found|no such network/i);
        assert.equal((await containers[1].inspect()).State.Status, 'created');
      } finally {
        await Promise.allSettled(containers.map((container) => container.remove({ force: true })));
        await Promise.allSettled(networks.map((network) => network.remove()));
        installation.remove();
      }
    });
  });
});
