import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { containerOptions } from '../../activities/containers/create.ts';
import type { ControlDeps } from '../../activities/control/deps.ts';
import { createControlActivities } from '../../activities/control/index.ts';
import { newHostKey } from '../../activities/seal.ts';
import { loadPlatformConfig } from '../../runtime/config.ts';
import { type CompleteCreate, endpointCreate } from '../../spec/endpoint.ts';
import { normalizeCreate } from '../../spec/normalize.ts';
import { createEndpoint } from '../../store/endpoint-writes.ts';
import { freeRoom, joinHost } from '../../store/hosts.ts';
import { ensureUser } from '../../store/namespaces.ts';
import { Vault } from '../../store/secrets.ts';
import { NvidiaSmi } from '../../worker/agent/nvidia-smi.ts';
import { HEAD, withNvidiaSmi } from '../support/nvidia-smi.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const GIB = 1024 ** 3;
const SECRETS = { env: {}, registry: null, hubToken: null, engineKey: 'k' };

/** From the driver's account of a host to what Docker is asked for, through the store; only Docker is left out. */
describe('placement: a host with GPUs', () => {
  let db: TestDatabase;
  let activities: ReturnType<typeof createControlActivities>;
  let vault: Vault;
  const config = loadPlatformConfig({});
  const local = config.vendors[0]?.regions[0];
  const replicas: { replicaId: string; endpointId: string }[] = [];

  before(async () => {
    assert.ok(local);
    local.instances.push({
      ...{ accelerator: 'gpu', type: 'nvidia-a100', size: 'x2', architecture: 'Nvidia A100' },
      ...{ cpus: 8, memoryGb: 64, gpus: 2, gpuMemoryGb: 160, pricePerHour: 5, status: 'available' },
    });
    db = await testDatabase();
    vault = new Vault(randomBytes(32));
    await ensureUser(db.store, 'alice');
    const deps = { store: db.store, vault, config, hubToken: null, installation: 'i' };
    activities = createControlActivities(deps as unknown as ControlDeps);
  });
  after(() => db?.drop());

  async function join(driver: string, mig: string[]): Promise<void> {
    const list = mig
      .map((mode, i) => `${i}, GPU-${i}, 81920, ${driver}, ${mode}, NVIDIA A100-SXM4-80GB`)
      .join('\n');
    const report = await withNvidiaSmi({ list, plain: HEAD(driver, '12.4') }, () => new NvidiaSmi().look());
    const { publicKey } = await newHostKey();
    await joinHost(db.store, {
      id: 'gpu1',
      name: 'gpu1',
      provider: 'docker',
      vendor: 'docker',
      region: 'local',
      address: '127.0.0.1',
      publicKey: publicKey as Record<string, unknown>,
      inventory: {
        cpus: 64,
        memoryBytes: 512 * GIB,
        diskFreeBytes: 1,
        gpus: report.gpus,
        gpuDriver: report.driver,
        dockerVersion: '28',
        os: 'linux',
      },
    });
  }

  async function endpoint(name: string, url: string): Promise<{ replicaId: string; endpointId: string }> {
    const body = endpointCreate.parse({
      name,
      type: 'private',
      provider: { vendor: 'docker', region: 'local' },
      compute: {
        accelerator: 'gpu',
        instanceType: 'nvidia-a100',
        instanceSize: 'x2',
        scaling: { minReplica: 1, maxReplica: 1 },
      },
      model: {
        repository: 'some/model',
        framework: 'pytorch',
        image: { vLLM: { url, tensorParallelSize: 2 } },
      },
    });
    const actor = {
      userId: '00000000-0000-0000-0000-000000000000',
      userName: 'alice',
      tokenId: null,
      ip: null,
      userAgent: null,
      requestId: null,
    };
    const wish = normalizeCreate(body as CompleteCreate, config.vendors);
    await createEndpoint(db.store, vault, {
      ...{ namespace: 'alice', name, wish, weights: null, actor },
    });
    const { id } = await db.store
      .selectFrom('endpoints')
      .select('id')
      .where('name', '=', name)
      .executeTakeFirstOrThrow();
    const replica = { replicaId: `${id.slice(0, 8)}-1`, endpointId: id };
    await activities.beginReplica({ ...replica, number: 1, revision: 1 });
    replicas.push(replica);
    return replica;
  }

  it('gives each replica GPUs of its own, by index, as Docker is asked for them', async () => {
    await join('550.54.15', ['Disabled', 'Enabled', 'Disabled', 'Disabled', 'Disabled']);
    assert.equal((await freeRoom(db.store, 2))[0]?.gpus, 4);
    const asked = [];
    for (const name of ['one', 'two']) {
      const replica = await endpoint(name, 'vllm/vllm-openai:v0.27.1');
      const place = await activities.reservePlace(replica);
      assert.equal(place.hostId, 'gpu1');
      const at = { number: 1, hostId: 'gpu1', workflowId: 'w' };
      const plan = await activities.planReplica({ ...replica, ...at });
      const options = containerOptions(plan, SECRETS, {
        ...{ installation: 'i', networkId: 'n', address: '127.0.0.1', weightsPath: null },
      });
      asked.push(options.HostConfig?.DeviceRequests);
    }
    // The second GPU is cut into slices, and is nobody's.
    assert.deepEqual(asked, [
      [{ Driver: 'nvidia', DeviceIDs: ['0', '2'], Capabilities: [['gpu']] }],
      [{ Driver: 'nvidia', DeviceIDs: ['3', '4'], Capabilities: [['gpu']] }],
    ]);
    const third = await activities.reservePlace(await endpoint('three', 'vllm/vllm-openai:v0.27.1'));
    assert.equal(third.hostId, null);
    for (const { replicaId, endpointId } of replicas)
      await activities.releaseReplica({ replicaId, endpointId, stage: 'stopped', failure: null });
  });

  it('refuses an image that its driver is too old for, before anything is pulled', async () => {
    const replica = await endpoint('newer', 'vllm/vllm-openai:v0.27.1-cu130');
    await assert.rejects(
      activities.reservePlace(replica),
      (error: Error & { type?: string; nonRetryable?: boolean }) => {
        assert.deepEqual([error.type, error.nonRetryable], ['DRIVER_TOO_OLD', true]);
        assert.match(
          error.message,
          /^vllm\/vllm-openai:v0\.27\.1-cu130 needs NVIDIA driver 580 or newer .*there is 550\.54\.15 on gpu1: update the driver/,
        );
        return true;
      },
    );
    await join('580.65.06', ['Disabled', 'Disabled']);
    assert.equal((await activities.reservePlace(replica)).hostId, 'gpu1');
  });
});
