import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { parse, stringify } from 'yaml';
import type { EndpointStatus } from '../../spec/endpoint.ts';
import { openVault } from '../../store/secrets.ts';
import { eventually } from '../support/eventually.ts';
import {
  endpointBody,
  FILE,
  IMAGE,
  Installation,
  MODEL,
  needsInstallation,
} from '../support/installation.ts';
import { skip } from '../support/needs.ts';
import { TestRegistry } from '../support/registry.ts';

const WEIGHTS_BYTES = 98_362_432;
/** Given to every endpoint or process here, and to be found in nothing that can be read afterwards. */
const SECRETS = {
  variable: `hidden-${randomBytes(12).toString('hex')}`,
  password: `password-${randomBytes(12).toString('hex')}`,
  hubToken: `hf_${randomBytes(12).toString('hex')}`,
};
/** Given to every endpoint too, as an ordinary variable: what a search that works does find. */
const SHOWN = `shown-${randomBytes(12).toString('hex')}`;
/** Long enough for the good starts among these tests, short enough to wait for. */
const READY_DEADLINE_S = 15;

/** What goes wrong with an endpoint, as its owner sees it: a cause to act on, and nothing left behind. */
describe('end to end: bad input and bad luck', function () {
  this.timeout(180_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    installation = await Installation.prepare();
    installation.env.PLATFORM_YAML = platformFile(installation.dir);
    installation.env.HF_TOKEN = SECRETS.hubToken;
    repository('some/gated', { 'model.gguf': 'GGUF', '.mirror.json': '{"gated":true}' });
    repository('some/words', { 'README.md': '# Nothing to run' });
    await installation.up();
  });
  after(() => installation?.destroy());
  afterEach(() => {
    if (installation) installation.hub.fault = undefined;
  });

  function repository(id: string, files: Record<string, string>): void {
    const dir = join(installation.dir, 'hub', id);
    mkdirSync(dir, { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  }

  const path = (name = '') => `/v2/endpoint/${installation.connection.namespace}${name && `/${name}`}`;
  const body = (name: string, { image, ...model }: { image?: object; [key: string]: unknown } = {}) =>
    endpointBody(name, {
      ...(image ? { image } : {}),
      model: { secrets: { HIDDEN: SECRETS.variable }, env: { SHOWN }, ...model },
    });
  const custom = (settings: object) => ({ custom: { url: IMAGE, ...settings } });
  const weights = () => join(installation.dir, 'data', 'agent', 'weights');

  async function create(name: string, model: Parameters<typeof body>[1] = {}): Promise<EndpointStatus> {
    const answer = await installation.api('POST', path(), body(name, model));
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return (answer.body as { status: EndpointStatus }).status;
  }

  /** The cause with which it fails. */
  async function failure(name: string): Promise<string> {
    const { status } = await installation.until(name, 'failed');
    assert.equal(status.readyReplica, 0);
    return status.errorMessage ?? '';
  }

  /** What its status says in a state. */
  async function says(name: string, state: string, message: RegExp): Promise<void> {
    let status: unknown;
    await eventually(
      `${name} says ${message}`,
      async () => {
        const found = await installation.get(name);
        status = found.status;
        return found.status.state === state && message.test(found.status.message);
      },
      { timeoutMs: 60_000 },
    ).catch((error: Error) => assert.fail(`${error.message}: ${JSON.stringify(status)}`));
  }

  /** A failed endpoint holds nothing; a deleted one gives its name back. */
  async function leavesNothing(name: string): Promise<void> {
    await eventually('no container', async () => (await installation.containers(name)).length === 0);
    assert.deepEqual(await installation.holdings(), { places: 0, routes: 0, replicas: 0 });
    await installation.remove(name);
  }

  it('an image that does not exist', async () => {
    const registry = await TestRegistry.start();
    try {
      const image = `${registry.host}/team/absent:1`;
      await create('image', { image: custom({ url: image, port: 8080 }) });
      const cause = await failure('image');
      assert.match(cause, /^IMAGE_NOT_FOUND: /);
      assert.ok(cause.includes(image), cause);
      await leavesNothing('image');
    } finally {
      registry.stop();
    }
  });

  it('a registry that does not answer is said, and the start can be called off', async () => {
    await create('nowhere', { framework: 'custom', image: custom({ url: '127.0.0.1:1/team/absent:1' }) });
    await says('nowhere', 'initializing', /^image 127\.0\.0\.1:1\/team\/absent:1: it could not be pulled/);
    await installation.remove('nowhere');
  });

  it('a container that exits at once gives its own sentence; better arguments bring it up', async () => {
    await create('exits', { args: ['--no-such-flag'] });
    const cause = await failure('exits');
    assert.match(cause, /^BAD_ARGS: llama\.cpp: .*model\.args.*error: invalid argument: --no-such-flag/);
    await eventually('no container', async () => (await installation.containers('exits')).length === 0);
    const put = await installation.api('PUT', path('exits'), { model: { args: [] } });
    assert.equal(put.status, 200);
    const { status } = await installation.until('exits', 'running');
    assert.equal(status.errorMessage, null);
    await installation.chat('exits');
    await installation.remove('exits');
  });

  it('a cause that passes by itself is tried again, later each time; one that stays is final at once', async () => {
    const dies = (name: string, words: string) =>
      create(name, {
        framework: 'custom',
        image: custom({ port: 8080 }),
        command: ['sh', '-c', `echo "${words}"; exit 1`],
      });
    await dies('taken', 'OSError: [Errno 98] address already in use');
    await dies(
      'busy',
      'ValueError: Free memory on device (1.2/22 GiB) is less than desired GPU memory utilization',
    );
    await dies('shared', '$(df -B1 /dev/shm | tail -n 1) RuntimeError: NCCL error in: ncclCommInitRank');
    await dies('big', 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.');
    assert.match(await failure('big'), /^GPU_OOM: .*Take a larger instance.*CUDA out of memory/);
    assert.match(await failure('taken'), /^PORT_IN_USE: .*address already in use/);
    const starts = async (name: string) => {
      const rows = await installation.query(
        `SELECT r.created_at FROM replicas r JOIN endpoints e ON e.id = r.endpoint_id WHERE e.name = '${name}' ORDER BY r.number`,
      );
      return rows.map(({ created_at }) => new Date(String(created_at)).getTime());
    };
    assert.equal((await starts('big')).length, 1);
    const [first = 0, second = 0, third = 0, ...more] = await starts('taken');
    assert.deepEqual(more, []);
    // The delays of platform.yaml: 2 s, doubled.
    assert.ok(second - first >= 2000 && third - second >= 4000, `${second - first} ms, ${third - second} ms`);
    await says('busy', 'initializing', /^Start 1 failed; trying again in \d+ s$/);
    // Half of the instance's memory, then all of it.
    assert.match(await failure('shared'), /^NCCL_SHM: .*NCCL error/);
    const sizes = await installation.query(
      `SELECT r.failure->>'logTail' AS log FROM replicas r JOIN endpoints e ON e.id = r.endpoint_id WHERE e.name = 'shared' ORDER BY r.number`,
    );
    const [before = 0, after = 0, ...others] = sizes.map(({ log }) => Number(String(log).split(/\s+/)[1]));
    assert.deepEqual([after, others], [2 * before, []]);
    assert.ok(before > 0);
    for (const name of ['big', 'busy', 'taken', 'shared']) await installation.remove(name);
  });

  it('a container that never gets healthy: what its port or its route did', async () => {
    await create('silent', {
      framework: 'custom',
      image: custom({ port: 8080, healthRoute: '/health' }),
      command: ['sleep', '600'],
    });
    await create('elsewhere', {
      framework: 'custom',
      image: custom({ port: 8080, healthRoute: '/nowhere' }),
      args: ['-m', `/repository/${FILE}`, '--host', '0.0.0.0', '--port', '8080', '--ctx-size', '512'],
    });
    const silent = await failure('silent');
    assert.match(
      silent,
      /^NOT_HEALTHY: .*not ready after 15 s: nothing listens on port 8080 .*Check the port in model\.image/,
    );
    const elsewhere = await failure('elsewhere');
    assert.match(elsewhere, /^NOT_HEALTHY: .*\/nowhere answered 404.*Check healthRoute in model\.image/);
    await eventually(
      'both have ended',
      async () => (await installation.query('SELECT 1 FROM allocations')).length === 0,
      { timeoutMs: 60_000 },
    );
    await leavesNothing('silent');
    await leavesNothing('elsewhere');
  });

  it('a file that came damaged once is fetched again and runs', async () => {
    rmSync(weights(), { recursive: true, force: true });
    installation.hub.servedBytes = 0;
    let damaged = 0;
    installation.hub.fault = ({ method, route, headers }) => {
      const isFirst = method === 'GET' && route?.kind === 'file' && /^bytes=0-/.test(headers.range ?? '');
      if (!isFirst || damaged > 0) return undefined;
      damaged += 1;
      return { kind: 'flip', atByte: 4711 };
    };
    await create('damaged');
    await installation.until('damaged', 'running');
    await installation.chat('damaged');
    assert.equal(damaged, 1);
    assert.ok(
      installation.hub.servedBytes > WEIGHTS_BYTES,
      `${installation.hub.servedBytes} bytes were sent`,
    );
    await installation.remove('damaged');
  });

  it('a file that always comes damaged is named', async () => {
    rmSync(weights(), { recursive: true, force: true });
    installation.hub.fault = ({ method, route }) =>
      method === 'GET' && route?.kind === 'file' ? { kind: 'flip', atByte: 4711 } : undefined;
    await create('rotten');
    const cause = await failure('rotten');
    assert.match(cause, /^CHECKSUM_MISMATCH: /);
    assert.ok(cause.includes(FILE), cause);
    await leavesNothing('rotten');
  });

  it('a full disk is told with the arithmetic before a byte is fetched; with room it goes on', async function () {
    rmSync(weights(), { recursive: true, force: true });
    mkdirSync(weights(), { recursive: true });
    const unmount = mountSmallDisk(this, weights());
    try {
      installation.hub.servedBytes = 0;
      await create('full');
      const cause = await failure('full');
      assert.match(cause, /^DISK_FULL: .* needs 98\.4 MB more and .* has [\d.]+ MB free.*free space there/);
      assert.ok(cause.includes(MODEL), cause);
      assert.equal(installation.hub.servedBytes, 0);
    } finally {
      unmount();
    }
    await installation.api('POST', `${path('full')}/resume`);
    await installation.until('full', 'running');
    await installation.remove('full');
  });

  it('a Hub that is down at create is said, and waited for; what was wrong shows when it is back', async () => {
    await installation.hubDown();
    try {
      const began = Date.now();
      const { state } = await create('patient');
      await create('mistaken', { repository: 'some/thing' });
      assert.ok(Date.now() - began < 20_000, `two creates took ${Date.now() - began} ms`);
      assert.equal(state, 'pending');
      await says('patient', 'pending', /^waiting for the Hub: .* cannot be reached .*ECONNREFUSED/);
    } finally {
      await installation.hubUp();
    }
    await installation.until('patient', 'running');
    await installation.chat('patient');
    await installation.remove('patient');
    assert.match(await failure('mistaken'), /^HUB_NOT_FOUND: .*'some\/thing'/);
    await leavesNothing('mistaken');
  });

  it('a Hub that goes away during a download is said, and the download goes on where it was', async () => {
    rmSync(weights(), { recursive: true, force: true });
    installation.hub.servedBytes = 0;
    installation.hub.fault = ({ method, route }) =>
      method === 'GET' && route?.kind === 'file' ? { kind: 'slow', bytesPerSecond: 8_000_000 } : undefined;
    await create('halfway');
    await says('halfway', 'initializing', /downloading ([3-9]\d) of 98 MB/);
    await installation.hubDown();
    try {
      await says('halfway', 'initializing', /^waiting for the Hub: .*ECONNREFUSED/);
    } finally {
      await installation.hubUp();
    }
    await installation.until('halfway', 'running');
    const served = installation.hub.servedBytes;
    assert.ok(served <= WEIGHTS_BYTES * 1.1, `${served} bytes were sent for a file of ${WEIGHTS_BYTES}`);
    await installation.remove('halfway');
  });

  const refused: [string, Parameters<typeof body>[1], RegExp][] = [
    ['repository that does not exist', { repository: 'some/thing' }, /model\.repository: .*'some\/thing'/],
    ['gated repository', { repository: 'some/gated' }, /model\.repository: .*'some\/gated' is gated/],
    ['revision that does not exist', { revision: 'v9' }, /model\.revision: .*'v9'/],
    ['repository without a usable file', { repository: 'some/words' }, /model\.repository: .*gguf/i],
  ];
  for (const [what, model, message] of refused) {
    it(`a ${what} is refused at create by its name, and nothing is stored`, async () => {
      const answer = await installation.api('POST', path(), body('refused', model));
      assert.equal(answer.status, 400, JSON.stringify(answer.body));
      assert.match((answer.body as { error: string }).error, message);
      assert.equal((await installation.api('GET', path('refused'))).status, 404);
      assert.deepEqual(await installation.query("SELECT 1 FROM endpoints WHERE name = 'refused'"), []);
      assert.deepEqual(
        await installation.query(
          "SELECT 1 FROM audit WHERE endpoint_name = 'refused' AND action LIKE '%create%'",
        ),
        [],
      );
    });
  }

  it('no secret is in any history, log or answer, not even when a container prints them all', async () => {
    await create('prints', {
      framework: 'custom',
      image: custom({ port: 8080, credentials: { username: 'somebody', password: SECRETS.password } }),
      command: ['sh', '-c', 'env; exit 3'],
    });
    const cause = await failure('prints');
    assert.match(cause, new RegExp(`SHOWN=${SHOWN}`));
    assert.match(cause, /HIDDEN=\[secret\]/);
    await create('serves');
    await installation.until('serves', 'running');
    await installation.chat('serves');

    const vault = openVault(join(installation.dir, 'data', 'secret.key'));
    const replicas = await installation.query('SELECT id FROM replicas');
    const engineKeys = replicas.map(({ id }) => vault.engineKey(String(id)));
    assert.ok(engineKeys.length >= 2);
    const secrets = [...Object.values(SECRETS), ...engineKeys];
    const clean = (text: string, where: string) => {
      for (const secret of secrets) assert.ok(!text.includes(secret), `${secret} is in ${where}`);
    };

    const histories = await allHistories(installation.connection.temporal);
    const types = new Set(histories.map(({ type }) => type));
    for (const type of ['endpoint', 'replica', 'host', 'autoscaler'])
      assert.ok(types.has(type), `no ${type}`);
    for (const { id, text } of histories) clean(text, `the history of ${id}`);
    assert.ok(histories.some(({ text }) => text.includes(SHOWN)));

    const logs = join(installation.dir, 'data', 'logs');
    const files = readdirSync(logs).filter((name) => name.endsWith('.log'));
    assert.ok(files.length >= 6, files.join());
    for (const file of files) clean(readFileSync(join(logs, file), 'utf8'), file);
    assert.ok(installation.log('agent').includes('host agent serves'));
    clean(installation.output, 'the output of up');

    let shown = 0;
    const { namespace } = installation.connection;
    const answers = [
      path(),
      path('prints'),
      path('serves'),
      `${path('prints')}/replica`,
      `${path('serves')}/replica`,
    ];
    for (const url of [...answers, `/v2/audit-logs/${namespace}`, '/api/whoami-v2', '/v2/provider']) {
      const answer = await installation.api('GET', url);
      assert.equal(answer.status, 200, url);
      const text = JSON.stringify(answer.body);
      clean(text, `the answer to ${url}`);
      if (text.includes(SHOWN)) shown += 1;
    }
    assert.ok(shown >= 3, `${shown} answers show what is no secret`);
    await installation.remove('serves');
    await leavesNothing('prints');
  });
});

/** The project's `platform.yaml` with a short deadline. */
function platformFile(dir: string): string {
  const root = resolve(import.meta.dirname, '..', '..', 'platform.yaml');
  const platform = parse(readFileSync(root, 'utf8')) as { lifecycle: Record<string, number> };
  platform.lifecycle.readyDeadlineSeconds = READY_DEADLINE_S;
  const file = join(dir, 'platform.yaml');
  writeFileSync(file, stringify(platform));
  return file;
}

/** A disk of 16 MB in place of the folder; gives back what takes it away again. */
function mountSmallDisk(context: Mocha.Context, dir: string): () => void {
  if (process.getuid?.() !== 0) skip(context, 'only root can mount a small disk');
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', dir], { stdio: 'pipe' });
  } catch (error) {
    skip(context, `no small disk can be mounted (${(error as Error).message})`);
  }
  return () => execFileSync('umount', [dir]);
}

/** Every history there is, as JSON in which payloads are readable. */
async function allHistories(address: string): Promise<{ id: string; type: string; text: string }[]> {
  const connection = await Connection.connect({ address });
  try {
    const { workflow } = new Client({ connection });
    const found: { id: string; type: string; text: string }[] = [];
    for await (const { workflowId, runId, type } of workflow.list()) {
      const json = historyToJSON(await workflow.getHandle(workflowId, runId).fetchHistory());
      const text = json.replaceAll(/"data":\s*"([A-Za-z0-9+/=]*)"/g, (_, data: string) =>
        Buffer.from(data, 'base64').toString('utf8'),
      );
      found.push({ id: workflowId, type, text });
    }
    return found;
  } finally {
    await connection.close();
  }
}
