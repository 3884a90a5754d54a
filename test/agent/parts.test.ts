import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDocker } from '../../activities/containers/docker.ts';
import { seal, unseal } from '../../activities/seal.ts';
import { ConfigError } from '../../runtime/config.ts';
import { Bell } from '../../worker/agent/bell.ts';
import { type AgentConfig, agentConfig } from '../../worker/agent/config.ts';
import { ControlApi, JoinRefused, type JoinRequest } from '../../worker/agent/control-api.ts';
import { loadIdentity } from '../../worker/agent/identity.ts';
import { takeInventory } from '../../worker/agent/inventory.ts';
import { type ProgressReport, ProgressReporter } from '../../worker/agent/progress.ts';
import { needDocker } from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';

const ENV = { ENDPOINTS_API: 'http://127.0.0.1:8080', ENDPOINTS_JOIN_TOKEN: 't' };

describe('agent: configuration', () => {
  it('needs an API and a token only', () => {
    const config = agentConfig({ ...ENV, AGENT_CPUS: '', ENDPOINTS_DATA_DIR: '/d' });
    assert.deepEqual([config.dir, config.address, config.vendor], ['/d/agent', '127.0.0.1', 'docker']);
    assert.deepEqual([config.maxCpus, config.maxMemoryBytes], [null, null]);
  });

  const wrong: [string, NodeJS.ProcessEnv, RegExp][] = [
    ['no API', { ...ENV, ENDPOINTS_API: '' }, /^ENDPOINTS_API: give the address/],
    ['no token', { ...ENV, ENDPOINTS_JOIN_TOKEN: undefined }, /^ENDPOINTS_JOIN_TOKEN: make one/],
    ['no number', { ...ENV, AGENT_CPUS: 'two' }, /^AGENT_CPUS: /],
  ];
  for (const [name, env, message] of wrong) {
    it(`says in one line what is wrong: ${name}`, () => {
      assert.throws(
        () => agentConfig(env),
        (error) => error instanceof ConfigError && message.test(error.message),
      );
    });
  }
});

describe('agent: identity', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'identity-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('is made once, kept for the owner only, and opens what is sealed for it', async () => {
    const made = await loadIdentity(join(dir, 'agent'));
    assert.deepEqual(await loadIdentity(join(dir, 'agent')), made);
    assert.match(made.hostId, /^[0-9a-f]{12}$/);
    assert.equal((await stat(join(dir, 'agent', 'identity.json'))).mode & 0o777, 0o600);
    const secrets = { env: {}, registry: null, hubToken: 'x', engineKey: 'k' };
    assert.deepEqual(await unseal(made.privateKey, await seal(made.publicKey, secrets)), secrets);
  });

  it('is one, also when two agents make it at once', async () => {
    const [one, two] = await Promise.all([loadIdentity(dir), loadIdentity(dir)]);
    assert.deepEqual(one, two);
  });

  it('says what to do when its file is damaged, and keeps it', async () => {
    const file = join(dir, 'identity.json');
    await writeFile(file, '{"hostId":');
    await assert.rejects(loadIdentity(dir), /identity\.json: is damaged\. Remove it to join as a new host/);
    assert.equal(await readFile(file, 'utf8'), '{"hostId":');
  });
});

describe('agent: inventory', () => {
  const NO_GPUS = { gpus: [], driver: null };

  it('counts as Docker does, and no more than it may', async function () {
    await needDocker(this);
    const config: AgentConfig = { ...agentConfig(ENV), dir: tmpdir() };
    const docker = openDocker();
    const all = await takeInventory(docker, config, NO_GPUS);
    assert.ok(all.cpus >= 1 && all.memoryBytes > 0 && all.diskFreeBytes > 0);
    assert.match(all.dockerVersion, /^\d+\./);
    const some = await takeInventory(docker, { ...config, maxCpus: 0.5, maxMemoryBytes: 1000 }, NO_GPUS);
    assert.deepEqual([some.cpus, some.memoryBytes], [0.5, 1000]);
    const more = await takeInventory(docker, { ...config, maxCpus: 1e6 }, NO_GPUS);
    assert.equal(more.cpus, all.cpus);
  });
});

describe('agent: control API', () => {
  let server: Server;
  let answer: { status: number; body: unknown };
  let seen: { url?: string | undefined; authorization?: string | undefined; body?: unknown };
  let api: ControlApi;

  before(async () => {
    server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      seen = {
        url: request.url,
        authorization: request.headers.authorization,
        body: JSON.parse(Buffer.concat(chunks).toString()),
      };
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer.body));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    api = new ControlApi(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, 'the-token');
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  const request: JoinRequest = {
    hostId: 'h1',
    name: 'n',
    address: '127.0.0.1',
    publicKey: { kty: 'EC' },
    inventory: { cpus: 1, memoryBytes: 1, diskFreeBytes: 1, gpus: [], dockerVersion: '1', os: 'x' },
    vendor: 'docker',
    region: 'local',
  };

  it('is joined with the token and tells where things are', async () => {
    const joined = {
      hostId: 'h1',
      installation: 'i',
      temporal: { address: 'a:1', namespace: 'n' },
      hub: { endpoint: 'http://h' },
    };
    answer = { status: 200, body: joined };
    assert.deepEqual(await api.join(request), joined);
    assert.deepEqual(seen, {
      url: '/internal/hosts/join',
      authorization: 'Bearer the-token',
      body: request,
    });
  });

  for (const [status, final] of [
    [401, true],
    [400, true],
    [429, false],
    [503, false],
  ] as const) {
    it(`takes ${status} as ${final ? 'a refusal' : 'something that passes'}, without the token in the text`, async () => {
      answer = { status, body: { error: 'the sentence of the API' } };
      await assert.rejects(api.join(request), (error: Error) => {
        assert.equal(error instanceof JoinRefused, final);
        assert.match(error.message, new RegExp(`${status}.*the sentence of the API`));
        assert.doesNotMatch(error.message, /the-token/);
        return true;
      });
    });
  }

  it('that is away is something that passes', async () => {
    const away = new ControlApi(`http://127.0.0.1:${await freePort()}`, 't');
    await assert.rejects(away.join(request), (error) => !(error instanceof JoinRefused));
  });

  it('takes progress of a host', async () => {
    answer = { status: 200, body: { updated: true } };
    await api.progress('h1', { replicaId: 'r-1', stage: 'pulling', message: 'm' });
    assert.equal(seen.url, '/internal/hosts/h1/progress');
    assert.deepEqual(seen.body, { replicaId: 'r-1', stage: 'pulling', message: 'm' });
  });
});

describe('agent: progress', () => {
  it('is passed on at once, then at most one in a while, the newest, each replica by itself', async () => {
    const sent: ProgressReport[] = [];
    const reporter = new ProgressReporter(async (report) => {
      sent.push(report);
    }, 200);
    for (const message of ['1', '2', '3']) reporter.report('a', 'pulling', message);
    reporter.report('b', 'downloading', 'x');
    assert.deepEqual(
      sent.map((report) => report.message),
      ['1', 'x'],
    );
    await eventually('the newest', () => sent.length === 3);
    assert.deepEqual(sent[2], { replicaId: 'a', stage: 'pulling', message: '3' });
  });

  it('that cannot be delivered disturbs nobody', async () => {
    let tries = 0;
    const reporter = new ProgressReporter(() => {
      tries++;
      return Promise.reject(new Error('away'));
    }, 20);
    reporter.report('a', 'pulling', '1');
    reporter.report('a', 'pulling', '2');
    await eventually('the next try', () => tries === 2);
  });
});

describe('agent: bell', () => {
  const signal = new AbortController().signal;
  const soon = (waiting: Promise<void>) =>
    Promise.race([waiting.then(() => 'woken'), new Promise((resolve) => setTimeout(resolve, 300, 'asleep'))]);

  it('wakes who waits, is kept for who waits later, and only once', async () => {
    const bell = new Bell();
    const waiting = bell.wait(60_000, signal);
    bell.ring();
    assert.equal(await soon(waiting), 'woken');
    bell.ring();
    assert.equal(await soon(bell.wait(60_000, signal)), 'woken');
    const ending = new AbortController();
    const again = bell.wait(60_000, ending.signal);
    assert.equal(await soon(again), 'asleep');
    ending.abort();
    await again;
  });

  it('wakes by itself in time', async () => {
    assert.equal(await soon(new Bell().wait(1, signal)), 'woken');
  });
});
