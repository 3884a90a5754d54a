import assert from 'node:assert/strict';
import type { Standby } from '../../spec/states.ts';
import { needDocker, TestHost } from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';

describe('containers: kept at zero', () => {
  let host: TestHost;

  before(async function () {
    await needDocker(this);
  });
  beforeEach(async () => {
    host = await TestHost.open();
  });
  afterEach(() => host?.close());

  type Plan = Awaited<ReturnType<TestHost['serve']>>['plan'];
  const rest = ({ replicaId, containerName }: Plan, standby: Standby) =>
    host.run(host.activities.restContainer, { replicaId, containerName, graceMs: 5000, standby });
  const resume = ({ replicaId, containerName }: Plan, gpus: number[] = []) =>
    host.run(host.activities.resumeContainer, { replicaId, containerName, gpus });
  const healthy = async (address: string) => (await fetch(`${address}/health`)).status;

  it('frozen, it answers again where it did, at once', async () => {
    const { plan, address, containerId } = await host.serve();
    for (let twice = 0; twice < 2; twice += 1) {
      assert.deepEqual(await rest(plan, 'frozen'), { rested: true });
      assert.equal((await host.inspect(plan)).State.Paused, true);
    }
    assert.deepEqual(
      [
        (await host.records.read(plan.replicaId))?.standby,
        (await host.records.read(plan.replicaId))?.readyAt,
      ],
      ['frozen', null],
    );
    const resumed = await resume(plan);
    assert.equal(resumed.address, address);
    assert.equal(await healthy(address), 200);
    assert.equal((await host.inspect(plan)).Id, containerId);
    const record = await host.records.read(plan.replicaId);
    assert.ok(record?.readyAt);
    assert.equal(record.standby, null);
    assert.equal((await resume(plan)).address, address, 'a repeated step finds it awake');
  });

  it('stopped, it is the same container that loads anew', async () => {
    const { plan, containerId } = await host.serve();
    for (let twice = 0; twice < 2; twice += 1) {
      assert.deepEqual(await rest(plan, 'stopped'), { rested: true });
      assert.equal((await host.inspect(plan)).State.Running, false);
    }
    const { address } = await resume(plan);
    assert.ok(address);
    assert.equal(await healthy(address), 200);
    assert.equal((await host.inspect(plan)).Id, containerId);
  });

  it('frozen and killed, it is not used again', async () => {
    const { plan, containerId } = await host.serve();
    await rest(plan, 'frozen');
    const { State } = await host.inspect(plan);
    process.kill(State.Pid, 'SIGKILL');
    const resumed = await resume(plan);
    assert.equal(resumed.address, null);
    await host.run(host.activities.stopContainer, { ...plan, graceMs: 1000 });
    await assert.rejects(host.docker.getContainer(containerId).inspect());
  });

  it('gone, made for other GPUs, or never made, it is not used', async () => {
    const { plan } = await host.serve();
    await rest(plan, 'frozen');
    assert.deepEqual(await resume(plan, [1]), { address: null, reason: 'its GPUs are in use by another' });
    await host.run(host.activities.stopContainer, { ...plan, graceMs: 1000 });
    assert.deepEqual(await resume(plan), { address: null, reason: 'the kept container is gone' });
    assert.deepEqual(await rest(plan, 'frozen'), { rested: false });
  });

  it('frozen, it is removed in a moment, whatever its grace', async () => {
    const { plan, containerId } = await host.serve();
    await rest(plan, 'frozen');
    const began = Date.now();
    await host.run(host.activities.stopContainer, { ...plan, graceMs: 60_000 });
    assert.ok(Date.now() - began < 30_000);
    await assert.rejects(host.docker.getContainer(containerId).inspect());
  });

  it('frozen, and found by a start that knows nothing of it, it is thawed and taken', async () => {
    const { plan, address, containerId } = await host.serve();
    await rest(plan, 'frozen');
    const started = await host.run(host.activities.startContainer, plan);
    assert.deepEqual([started.containerId, started.address], [containerId, address]);
    await eventually('healthy', async () => (await healthy(address)) === 200);
    assert.equal((await host.records.read(plan.replicaId))?.standby ?? null, null);
  });
});
