import assert from 'node:assert/strict';
import type Docker from 'dockerode';
import { NvidiaSmi } from '../../worker/agent/nvidia-smi.ts';
import { UsageMeter } from '../../worker/agent/usage.ts';
import { needDocker, TestHost } from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';

describe('agent: usage of GPUs', () => {
  it('is the mean of those the replica was given, and nothing where they do not tell', async () => {
    const record = (replicaId: string, gpus: number[]) => ({
      readyAt: 1,
      containerId: replicaId,
      plan: { replicaId, container: { gpus, cpus: 1 } },
    });
    const records = { all: async () => [record('two', [0, 2]), record('sliced', [3]), record('idle', [1])] };
    const nvidia = {
      utilization: async () =>
        new Map([
          [0, 90],
          [1, 0],
          [2, 50],
        ]),
    };
    const meter = new UsageMeter(docker, records as unknown as Records, nvidia);
    assert.deepEqual(await meter.look(), [
      { replicaId: 'two', cpuPercent: null, gpuPercent: 70 },
      { replicaId: 'idle', cpuPercent: null, gpuPercent: 0 },
    ]);
  });
});

/** Not asked for anything. */
const docker = {} as Docker;
type Records = ConstructorParameters<typeof UsageMeter>[1];

describe('agent: usage of CPUs', () => {
  let host: TestHost;

  before(async function () {
    await needDocker(this);
    host = await TestHost.open();
  });
  after(() => host?.close());

  it('is nothing while an engine idles and much while it computes, as a share of what the replica was given', async () => {
    const { plan, containerId } = await host.serve();
    const meter = new UsageMeter(host.docker, host.records, new NvidiaSmi());
    const look = async () => (await meter.look()).find((u) => u.replicaId === plan.replicaId)?.cpuPercent;
    assert.equal(await look(), undefined);
    await eventually('idle', async () => ((await look()) ?? 100) < 20, { everyMs: 300 });

    const exec = await host.docker
      .getContainer(containerId)
      .exec({ Cmd: ['sh', '-c', 'while :; do :; done'] });
    // An answer that nobody reads would keep its connection open.
    (await exec.start({ Detach: true })).resume();
    await eventually('busy', async () => ((await look()) ?? 0) > 50, { everyMs: 300 });
  });
});
