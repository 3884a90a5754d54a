import assert from 'node:assert/strict';
import { ApplicationFailure } from '@temporalio/common';
import { needDocker, TestHost } from '../support/docker.ts';

describe('containers: start and stop', () => {
  let host: TestHost;

  before(async function () {
    await needDocker(this);
    host = await TestHost.open();
  });
  after(() => host?.close());

  it('starts an engine that answers a chat with its key, and nobody without', async () => {
    const { address } = await host.serve();
    const chat = (key: string | null) =>
      fetch(`${address}/v1/chat/completions`, {
        method: 'POST',
        headers: key ? { authorization: `Bearer ${key}` } : {},
        body: JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 4 }),
      });
    const answer = await chat('engine-key-of-the-test');
    assert.equal(answer.status, 200);
    const body = (await answer.json()) as { model: string; choices: { message: { content: string } }[] };
    assert.equal(body.model, 'some/model');
    assert.ok(body.choices[0]?.message.content);
    assert.equal((await chat(null)).status, 401);
    assert.equal((await chat('another')).status, 401);
    assert.ok(host.reports.includes('waiting for first inference'));
  });

  it('bounds the container and takes away what it does not need', async () => {
    const plan = await host.plan();
    await host.run(host.activities.startContainer, plan);
    const { HostConfig, Config, Mounts } = await host.inspect(plan);
    assert.equal(HostConfig.Memory, 1024 ** 3);
    assert.equal(HostConfig.MemorySwap, 1024 ** 3);
    assert.equal((HostConfig.CpuQuota ?? 0) / (HostConfig.CpuPeriod ?? 1), 1);
    assert.equal(HostConfig.PidsLimit, plan.container.pidsLimit);
    assert.equal(HostConfig.ShmSize, plan.container.shmBytes);
    assert.deepEqual(HostConfig.SecurityOpt, ['no-new-privileges']);
    assert.deepEqual(HostConfig.CapDrop, ['ALL']);
    assert.equal(HostConfig.Init, true);
    assert.equal(HostConfig.RestartPolicy?.Name, 'no');
    assert.equal(HostConfig.LogConfig?.Config?.['max-size'], '10m');
    assert.equal(HostConfig.PortBindings['8080/tcp'][0].HostIp, '127.0.0.1');
    assert.equal((Config as { StopSignal?: string }).StopSignal, 'SIGTERM');
    assert.deepEqual(
      Mounts.map(({ Destination, RW }) => ({ Destination, RW })),
      [{ Destination: '/repository', RW: false }],
    );
  });

  it('keeps containers of one installation from reaching each other', async () => {
    const [network] = await host.docker.listNetworks({
      filters: { name: [`endpoints-${host.installation}`] },
    });
    assert.equal(network?.Options?.['com.docker.network.bridge.enable_icc'], 'false');
  });

  it('takes the running container when the step is repeated', async () => {
    const plan = await host.plan();
    const first = await host.run(host.activities.startContainer, plan);
    const again = await host.run(host.activities.startContainer, plan);
    assert.deepEqual([again.containerId, again.address], [first.containerId, first.address]);
  });

  it('makes one container and one network when two attempts overlap', async () => {
    const fresh = await TestHost.open();
    try {
      const plan = await fresh.plan();
      const [one, two] = await Promise.all([
        fresh.run(fresh.activities.startContainer, plan),
        fresh.run(fresh.activities.startContainer, plan),
      ]);
      assert.deepEqual([one.containerId, one.address], [two.containerId, two.address]);
      assert.equal((await fresh.run(fresh.activities.listContainers)).length, 1);
    } finally {
      await fresh.close();
    }
  });

  it('replaces a container that ended, also when two attempts do it at once', async () => {
    const plan = await host.plan();
    const first = await host.run(host.activities.startContainer, plan);
    await host.docker.getContainer(first.containerId).kill();
    const [one, two] = await Promise.all([
      host.run(host.activities.startContainer, plan),
      host.run(host.activities.startContainer, plan),
    ]);
    assert.notEqual(one.containerId, first.containerId);
    assert.deepEqual([one.containerId, one.address], [two.containerId, two.address]);
  });

  it('replaces a container of another revision', async () => {
    const plan = await host.plan();
    const old = await host.run(host.activities.startContainer, plan);
    const next = await host.run(host.activities.startContainer, { ...plan, revision: 2 });
    assert.notEqual(next.containerId, old.containerId);
  });

  it('starts a container that an attempt created and did not get to start', async () => {
    const plan = await host.plan();
    const first = await host.run(host.activities.startContainer, plan);
    await host.docker.getContainer(first.containerId).remove({ force: true });
    const info = await host.docker.createContainer({
      name: plan.containerName,
      Image: plan.container.image,
      Cmd: plan.container.args,
      Labels: {
        'inference-endpoints.installation': host.installation,
        'inference-endpoints.endpoint': plan.endpointId,
        'inference-endpoints.replica': plan.replicaId,
        'inference-endpoints.revision': '1',
      },
      ExposedPorts: { '8080/tcp': {} },
      HostConfig: {
        NetworkMode: `endpoints-${host.installation}`,
        PortBindings: { '8080/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] },
      },
    });
    // It has no model, so it ends at once; what counts is that this very container was started.
    await host.run(host.activities.startContainer, plan).catch(() => undefined);
    assert.notEqual((await host.docker.getContainer(info.id).inspect()).State.StartedAt.slice(0, 4), '0001');
  });

  it('says that an image is missing, and from where, when a start finds it gone', async () => {
    const plan = await host.plan({ image: { url: '127.0.0.1:9/no/such:1' } });
    await assert.rejects(host.run(host.activities.startContainer, plan), (error: ApplicationFailure) => {
      assert.equal(error.type, 'IMAGE_PULL_FAILED');
      assert.match(error.message, /127\.0\.0\.1:9\/no\/such:1/);
      return true;
    });
  });

  it('stops with the signal, tells the exit code, leaves no container and no record', async () => {
    const { plan } = await host.serve();
    assert.ok(await host.records.read(plan.replicaId));
    const stop = { replicaId: plan.replicaId, containerName: plan.containerName, graceMs: 15_000 };
    assert.deepEqual(await host.run(host.activities.stopContainer, stop), { exitCode: 0 });
    await assert.rejects(host.inspect(plan), /no such container/i);
    assert.equal(await host.records.read(plan.replicaId), null);
    assert.deepEqual(await host.run(host.activities.stopContainer, stop), { exitCode: null });
  });

  it('kills a container that does not end within its grace', async () => {
    const plan = await host.plan({
      other: { custom: { url: (await host.plan()).container.image } },
      input: { command: ['/bin/sh'], args: ['-c', 'trap "" TERM; while :; do sleep 0.1; done'] },
    });
    await host.run(host.activities.startContainer, plan);
    const { exitCode } = await host.run(host.activities.stopContainer, {
      replicaId: plan.replicaId,
      containerName: plan.containerName,
      graceMs: 300,
    });
    assert.equal(exitCode, 137);
  });

  it("lists this installation's containers only, and removes no other's", async () => {
    const other = await TestHost.open();
    try {
      const plan = await other.plan();
      await other.run(other.activities.startContainer, plan);
      const mine = await host.run(host.activities.listContainers);
      assert.ok(!mine.some((container) => container.name === plan.containerName));
      await host.run(host.activities.removeContainers, { names: [plan.containerName, 'ep-none-1'] });
      assert.equal((await other.inspect(plan)).State.Running, true);
      const [own] = await other.run(other.activities.listContainers);
      assert.equal(own?.replicaId, plan.replicaId);
      assert.ok(Math.abs(Date.now() - (own?.createdAtMs ?? 0)) < 600_000);
      await other.run(other.activities.removeContainers, { names: [plan.containerName] });
      assert.deepEqual(await other.run(other.activities.listContainers), []);
      assert.deepEqual(await other.records.all(), []);
    } finally {
      await other.close();
    }
  });

  it('says that Docker is away', async () => {
    const plan = await host.plan();
    const { createContainerActivities } = await import('../../activities/containers/index.ts');
    const { default: Docker } = await import('dockerode');
    const away = createContainerActivities({
      docker: new Docker({ socketPath: '/nowhere/docker.sock' }),
      installation: 'x',
      records: host.records,
      address: '127.0.0.1',
      weightsPath: () => '/nowhere',
      unseal: async () => ({ env: {}, registry: null, hubToken: null, engineKey: 'k' }),
      report: () => undefined,
    });
    for (const step of [
      () => host.run(away.startContainer, plan),
      () => host.run(away.pullImage, { replicaId: 'a-1', image: 'x', sealed: '' }),
      () => host.run(away.listContainers),
      () => host.run(away.stopContainer, { replicaId: 'a-1', containerName: 'x', graceMs: 1 }),
    ]) {
      await assert.rejects(step, (error: unknown) => {
        assert.ok(error instanceof ApplicationFailure);
        assert.equal(error.type, 'DOCKER_UNAVAILABLE');
        assert.equal(error.nonRetryable, false);
        return true;
      });
    }
  });
});
