import assert from 'node:assert/strict';
import { UsageMeter } from '../../worker/agent/usage.ts';
import { needDocker, TestHost } from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';

describe('agent: usage of CPUs', () => {
  let host: TestHost;

  before(async function () {
    await needDocker(this);
    host = await TestHost.open();
  });
  after(() => host?.close());

  it('is nothing while an engine idles and much while it computes, as a share of what the replica was given', async () => {
    const { plan, containerId } = await host.serve();
    const meter = new UsageMeter(host.docker, host.records);
    const look = async () => (await meter.look()).find((u) => u.replicaId === plan.replicaId)?.cpuPercent;
    assert.equal(await look(), undefined);
    await eventually('idle', async () => ((await look()) ?? 100) < 20, { everyMs: 300 });

    const exec = await host.docker
      .getContainer(containerId)
      .exec({ Cmd: ['sh', '-c', 'while :; do :; done'] });
    await exec.start({ Detach: true });
    await eventually('busy', async () => ((await look()) ?? 0) > 50, { everyMs: 300 });
  });
});
