import assert from 'node:assert/strict';
import { exactImage } from '../../activities/containers/exact.ts';
import { createStartReady } from '../../activities/start-ready.ts';
import { ENGINE_IMAGE, needDocker, TestHost } from '../support/docker.ts';

describe('containers: a start in one step', () => {
  let host: TestHost;
  let weightsPresent: boolean;
  let noted: string[];

  before(async function () {
    await needDocker(this);
  });
  beforeEach(async () => {
    host = await TestHost.open();
    weightsPresent = true;
    noted = [];
  });
  afterEach(() => host?.close());

  async function start(pinned: 'present' | 'absent' | null) {
    const exact = (await exactImage(host.docker, ENGINE_IMAGE)) ?? assert.fail('no image');
    const absent = `sha256:${'0'.repeat(64)}`;
    const plan = await host.plan();
    const { startReady } = createStartReady({
      ...host.activities,
      docker: host.docker,
      weightsPresent: async () => weightsPresent,
      noteImage: async (image) => void noted.push(image),
    });
    const pinnedImage = pinned && { present: exact, absent }[pinned];
    return { plan, exact, started: await host.run(startReady, { ...plan, pinnedImage }) };
  }
  const containers = async () => {
    const label = [`inference-endpoints.installation=${host.installation}`];
    return (await host.docker.listContainers({ all: true, filters: { label } })).length;
  };

  it('ends with an engine that has answered, and notes that its image is wanted', async () => {
    const { started, exact, plan } = await start('present');
    assert.ok(started.address);
    assert.ok(started.readyAt >= started.calledAt);
    assert.equal((await fetch(`${started.address}/health`)).status, 200);
    assert.ok((await host.records.read(plan.replicaId))?.readyAt);
    assert.deepEqual(noted, [exact]);
  });

  for (const [what, pinned, weights] of [
    ['the image is not here', 'absent', true],
    ['the image is not pinned yet', null, true],
    ['the weights are not here', 'present', false],
  ] as const)
    it(`does nothing when ${what}`, async () => {
      weightsPresent = weights;
      assert.deepEqual((await start(pinned)).started, { address: null });
      assert.equal(await containers(), 0);
      assert.deepEqual(noted, []);
    });
});
