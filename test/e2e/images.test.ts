import assert from 'node:assert/strict';
import { Client, Connection } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import type Docker from 'dockerode';
import { openDocker } from '../../activities/containers/docker.ts';
import { Distribution, LOGIN } from '../support/distribution.ts';
import { eventually } from '../support/eventually.ts';
import { FILE, IMAGE, Installation, needsInstallation } from '../support/installation.ts';
import { needs } from '../support/needs.ts';

const TAG = 'team/engine:1';

/** The real engine under a tag of a private registry, which somebody moves while an endpoint grows. */
describe('end to end: the image of a revision', function () {
  this.timeout(240_000);
  let installation: Installation;
  let registry: Distribution;
  let docker: Docker;

  before(async function () {
    needsInstallation(this);
    needs(this, 'TEST_REGISTRY');
    docker = openDocker();
    registry = await Distribution.start({ login: true });
    installation = await Installation.prepare();
    await installation.up();
  });
  after(async () => {
    await installation?.destroy();
    await registry?.stop(docker);
  });

  /** The engine's image with one label more, pushed under the tag. */
  async function publish(version: string): Promise<string> {
    const container = await docker.createContainer({ Image: IMAGE, Cmd: ['--version'] });
    const [repo, tag] = [`${registry.host}/${TAG.split(':')[0]}`, TAG.split(':')[1]];
    await container.commit({ repo, tag, changes: `LABEL test.version=${version}` });
    await container.remove({ force: true });
    return registry.push(docker, `${registry.host}/${TAG}`);
  }

  async function create(name: string, credentials: typeof LOGIN): Promise<void> {
    await installation.create(name, {
      scaling: { maxReplica: 2 },
      image: { custom: { url: `${registry.host}/${TAG}`, port: 8080, healthRoute: '/health', credentials } },
      model: {
        framework: 'custom',
        args: ['-m', `/repository/${FILE}`, '--host', '0.0.0.0', '--port', '8080', '--ctx-size', '512'],
      },
    });
  }

  it('stays the same for a replica that starts after the tag has moved', async () => {
    const first = await publish('1');
    await create('grows', LOGIN);
    await installation.until('grows', 'running');
    const second = await publish('2');
    assert.notEqual(first, second);

    const path = `/v2/endpoint/${installation.connection.namespace}/grows`;
    const grown = await installation.api('PUT', path, { compute: { scaling: { minReplica: 2 } } });
    assert.equal(grown.status, 200);
    await eventually(
      'two replicas are ready',
      async () => (await installation.get('grows')).status.readyReplica === 2,
      { timeoutMs: 120_000 },
    );
    const ids = await installation.containers('grows');
    const infos = await Promise.all(ids.map((id) => docker.getContainer(id).inspect()));
    const exact = `${registry.host}/team/engine@${first}`;
    assert.deepEqual(
      infos.map(({ Config }) => [Config.Image, Config.Labels['test.version']]),
      [
        [exact, '1'],
        [exact, '1'],
      ],
    );
    await installation.remove('grows');
  });

  it('is refused for good with the wrong password, which is in no history', async () => {
    const password = 'not-the-password-of-the-registry';
    await docker
      .getImage(`${registry.host}/${TAG}`)
      .remove({ force: true })
      .catch(() => undefined);
    await create('wrong', { ...LOGIN, password });
    const { status } = await installation.until('wrong', 'failed');
    assert.match(
      status.errorMessage ?? '',
      /^IMAGE_AUTH: .*refused the given credentials; check model\.image/,
    );
    assert.ok(!status.errorMessage?.includes(password));
    const connection = await Connection.connect({ address: installation.connection.temporal });
    try {
      const { workflow } = new Client({ connection });
      for await (const { workflowId, runId } of workflow.list()) {
        const json = historyToJSON(await workflow.getHandle(workflowId, runId).fetchHistory());
        const text = json.replaceAll(/"data":\s*"([A-Za-z0-9+/=]*)"/g, (_, data: string) =>
          Buffer.from(data, 'base64').toString('utf8'),
        );
        for (const secret of [password, LOGIN.password]) assert.ok(!text.includes(secret), workflowId);
      }
    } finally {
      await connection.close();
    }
    await installation.remove('wrong');
  });
});
