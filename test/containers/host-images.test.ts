import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { candidates } from '../../activities/containers/evict-images.ts';
import { exactImage } from '../../activities/containers/exact.ts';
import { HostImages } from '../../activities/containers/host-images.ts';
import { ImageUse } from '../../activities/containers/image-use.ts';
import { askRegistry } from '../../activities/containers/manifest.ts';
import { ensureImage } from '../../activities/containers/pull.ts';
import { LayerCount, pullMessage } from '../../activities/containers/pull-progress.ts';
import { unmetRequirement } from '../../activities/containers/require-cuda.ts';
import type { GpuDriver } from '../../spec/driver.ts';
import { EndpointsError } from '../../spec/errors.ts';
import { Distribution, LOGIN } from '../support/distribution.ts';
import { needDocker, TestHost } from '../support/docker.ts';
import { needs } from '../support/needs.ts';

const HOUR = 3_600_000;
const refusal = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof EndpointsError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

describe('containers: the images of a host', () => {
  let host: TestHost;
  let registry: Distribution;
  let use: ImageUse;
  let live: string[] | Error;
  let free: () => number | Promise<number>;
  let driver: GpuDriver | null;

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
  beforeEach(async () => {
    use = new ImageUse(await mkdtemp(join(host.dir, 'use-')));
    live = [];
    free = () => Number.POSITIVE_INFINITY;
    driver = null;
  });

  const images = () =>
    new HostImages({
      docker: host.docker,
      use,
      driver: () => driver,
      live: () => (live instanceof Error ? Promise.reject(live) : Promise.resolve(live)),
      minFreeBytes: 1000,
      minIdleMs: HOUR,
      free: async () => free(),
    });
  const ask = (registry: typeof LOGIN | null = LOGIN, gpus = 0) => ({ registry, gpus });

  /** Pulled by this agent so long ago, and not wanted since. */
  async function pulled(tag: string, hoursAgo: number): Promise<string> {
    const { reference } = await registry.publish(host.docker, tag);
    const { image } = await ensureImage(host.docker, reference, { registry: LOGIN });
    await use.note([image], { pulled: true, now: Date.now() - hoursAgo * HOUR });
    return image;
  }

  it('are asked for at their registry before they are pulled: size, layers, environment', async () => {
    const { reference } = await registry.publish(host.docker, 'facts', { A: 'b' });
    const facts = await images().prepare(reference, ask());
    assert.ok(facts && facts.bytes > 200_000 && facts.bytes < 300_000, JSON.stringify(facts));
    assert.equal(facts.layers.size, 1);
    assert.ok(facts.env.includes('A=b'));
    // The registry knew the layer under the id that Docker tells of it by.
    const seen: string[] = [];
    await ensureImage(host.docker, reference, {
      registry: LOGIN,
      prepare: () => Promise.resolve(facts),
      onProgress: (now) => seen.push(pullMessage({ ...now, totalBytes: now.totalBytes * 1000 })),
    });
    assert.match(seen[0] ?? '', /0 of 1 layers, 0 of 2\d\d MB/);
  });

  it('are pulled without that where the registry does not say it', async () => {
    const { reference } = await registry.publish(host.docker, 'unsaid');
    assert.equal(await images().prepare(reference, ask(null)), null);
    assert.equal(await images().prepare('127.0.0.1:9/no/such:1', ask()), null);
  });

  it('are refused before the pull when the disk has no room for them, with the numbers', async () => {
    const { reference } = await registry.publish(host.docker, 'large');
    free = () => 100;
    await assert.rejects(
      images().prepare(reference, ask()),
      refusal(
        'DISK_FULL',
        /needs about 0\.0 GB to be pulled and unpacked, and Docker's disk on the host has 0\.0 GB/,
      ),
    );
    assert.equal(await exactImage(host.docker, reference), null);
  });

  it('are refused before the pull when they ask for a newer driver', async () => {
    const { reference } = await registry.publish(host.docker, 'cuda', {
      NVIDIA_REQUIRE_CUDA: 'cuda>=13.0 brand=tesla,driver>=570,driver<571',
    });
    driver = { version: '550.54.15', cuda: '12.4' };
    await assert.rejects(
      images().prepare(reference, ask(LOGIN, 1)),
      refusal(
        'DRIVER_TOO_OLD',
        /asks for 'cuda>=13\.0.*' and the host has NVIDIA driver 550\.54\.15 with CUDA 12\.4/,
      ),
    );
    assert.ok(await images().prepare(reference, ask(LOGIN, 0)), 'without a GPU it does not matter');
    driver = { version: '580.65.06', cuda: '13.0' };
    assert.ok(await images().prepare(reference, ask(LOGIN, 1)));
  });

  it('go when the disk runs full, longest unused first, until there is room', async () => {
    const [young, old] = [await pulled('young', 2), await pulled('old', 3)];
    assert.deepEqual(await images().relieve(), [], 'there is room');
    // The first removal makes room enough.
    free = async () => ((await exactImage(host.docker, old)) ? 500 : 5000);
    assert.deepEqual(await images().relieve(), [old]);
    assert.ok(await exactImage(host.docker, young));
    free = () => 500;
    assert.deepEqual(await images().relieve(), [young]);
    assert.equal(await exactImage(host.docker, young), null);
    assert.deepEqual(await use.all(), {});
  });

  it('stay while a container has them, an endpoint may start them, they were wanted lately, or nobody knows', async () => {
    free = () => 0;
    const [held, kept, recent] = [
      await pulled('held', 9),
      await pulled('kept', 9),
      await pulled('recent', 0.5),
    ];
    const { id } = await host.docker.createContainer({ Image: held, Cmd: ['/file'] });
    try {
      live = new Error('the control API is away');
      await assert.rejects(images().relieve(), /is away/);
      live = [kept];
      assert.deepEqual(await images().relieve(), []);
      for (const image of [held, kept, recent]) assert.ok(await exactImage(host.docker, image), image);
    } finally {
      await host.docker.getContainer(id).remove({ force: true });
    }
  });

  it('stay when this agent has not pulled them', async () => {
    free = () => 0;
    const { reference } = await registry.publish(host.docker, 'foreign');
    const { image } = await ensureImage(host.docker, reference, { registry: LOGIN });
    await images().note(image, false);
    assert.deepEqual(await images().relieve(), []);
    assert.ok(await exactImage(host.docker, image));
  });

  it('make room for one that is about to be pulled', async () => {
    const old = await pulled('makes-room', 5);
    const { reference } = await registry.publish(host.docker, 'needs-room');
    free = async () => ((await exactImage(host.docker, old)) ? 100 : 1e9);
    assert.ok(await images().prepare(reference, ask()));
    assert.equal(await exactImage(host.docker, old), null);
  });
});

describe('containers: which images may go', () => {
  it('those not kept and idle for long enough, longest unused first', () => {
    const uses = { a: 30, b: 10, c: 20, d: 95 };
    assert.deepEqual(candidates(uses, { keep: new Set(['c']), minIdleMs: 10, now: 100 }), ['b', 'a']);
  });

  it('are remembered over a restart, two at once, and only where pulled', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'use-'));
    try {
      const use = new ImageUse(dir);
      await Promise.all([
        use.note(['a'], { pulled: true, now: 1 }),
        use.note(['b'], { pulled: true, now: 2 }),
      ]);
      await use.note(['a', 'x'], { now: 3 });
      assert.deepEqual(await new ImageUse(dir).all(), { a: 3, b: 2 });
      await use.forget('a');
      assert.deepEqual(await new ImageUse(dir).all(), { b: 2 });
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});

describe('containers: what an image asks of the driver', () => {
  const driver: GpuDriver = { version: '535.104.05', cuda: '12.2' };
  const table: [required: string, met: boolean][] = [
    ['cuda>=12.0', true],
    ['cuda>=12.4', false],
    ['cuda>=12.4 brand=tesla,driver>=535,driver<536', true],
    ['cuda>=12.4 brand=tesla,driver>=470,driver<471', false],
    ['driver=535', true],
    ['driver!=535', false],
    ['arch>=9.0', true],
    ['', true],
  ];
  for (const [required, met] of table)
    it(`${required || 'nothing'}: ${met}`, () =>
      assert.equal(unmetRequirement([`NVIDIA_REQUIRE_CUDA=${required}`], driver), met ? null : required));

  it('nothing when it says so, or does not know the word', () => {
    assert.equal(
      unmetRequirement(['NVIDIA_REQUIRE_CUDA=cuda>=13.0', 'NVIDIA_DISABLE_REQUIRE=true'], driver),
      null,
    );
    assert.equal(unmetRequirement(['PATH=/bin'], driver), null);
    assert.equal(unmetRequirement(['NVIDIA_REQUIRE_CUDA=cuda>=13.0'], { ...driver, cuda: null }), null);
  });
});

describe('containers: a registry that gives tokens', () => {
  let server: Server;
  let base: string;
  const seen: string[] = [];
  const digest = (digit: string) => `sha256:${digit.repeat(64)}`;

  before(async () => {
    const documents: Record<string, unknown> = {
      '/v2/a/b/manifests/1': {
        manifests: [
          { digest: digest('1'), platform: { os: 'linux', architecture: 'arm64' } },
          { digest: digest('2'), platform: { os: 'linux', architecture: 'amd64' } },
        ],
      },
      [`/v2/a/b/manifests/${digest('2')}`]: {
        config: { digest: digest('3') },
        layers: [
          { digest: digest('4'), size: 10 },
          { digest: digest('5'), size: 20 },
        ],
      },
      [`/v2/a/b/blobs/${digest('3')}`]: { config: { Env: ['A=b'] } },
    };
    server = createServer((request, response) => {
      const url = request.url ?? '';
      seen.push(`${url} ${request.headers.authorization ?? ''}`);
      if (url.startsWith('/token')) response.end(JSON.stringify({ token: 'given' }));
      else if (request.headers.authorization !== 'Bearer given')
        response
          .writeHead(401, {
            'www-authenticate': `Bearer realm="${base}/token",service="s",scope="repository:a/b:pull"`,
          })
          .end();
      else response.end(JSON.stringify(documents[url] ?? {}));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    base = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  it("is asked for the host's processor, with the owner's login for the token only", async () => {
    const question = { registry: LOGIN, architecture: 'amd64', plain: true };
    const facts = await askRegistry(`${base.slice('http://'.length)}/a/b:1`, question);
    assert.deepEqual([facts?.bytes, facts?.env], [30, ['A=b']]);
    assert.deepEqual(Object.fromEntries(facts?.layers ?? []), { '444444444444': 10, '555555555555': 20 });
    const basic = seen.filter((line) => line.includes('Basic'));
    assert.deepEqual(
      basic.map((line) => line.split(' ')[0]),
      ['/token?service=s&scope=repository%3Aa%2Fb%3Apull'],
    );
  });

  it('tells the size of every layer before it is downloaded', () => {
    const count = new LayerCount(new Map([['a', 4e6]]));
    count.add({ id: 'a', status: 'Pulling fs layer' });
    assert.equal(pullMessage(count.progress), 'pulling image: 0 of 1 layers, 0 of 4 MB');
    count.add({ id: 'a', status: 'Already exists' });
    assert.equal(pullMessage(count.progress), 'pulling image: 1 of 1 layers, 0 of 0 MB');
  });
});
