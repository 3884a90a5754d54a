import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type Docker from 'dockerode';
import { dockerClient } from '../../cli/services/docker.ts';
import { ensureEngineImage } from '../../cli/services/engine-image.ts';
import { type PrivateDocker, startPrivateDocker } from '../../cli/services/private-docker.ts';
import { dataFiles } from '../../cli/up/settings.ts';
import { cacheDir } from '../../runtime/config.ts';
import { STUB_ENGINE } from '../agent/stub-engine.ts';
import { type CutProxy, startCutProxy } from '../support/cut-proxy.ts';
import { eventually } from '../support/eventually.ts';
import { IMAGE, Installation, needsInstallation } from '../support/installation.ts';
import { skip } from '../support/needs.ts';

const ROOT = join(import.meta.dirname, '../..');
const NAME = 'cut-off';
/** Numbers that the stream counts to: longer than all that happens from the loss until the network is back. */
const COUNT = 250;

/** Two hosts with an engine each. The second one's agent reaches API and Temporal by a network that can be cut. */
describe('end to end: a network cut between control plane and host', function () {
  this.timeout(300_000);
  let installation: Installation;
  let engine: PrivateDocker;
  let far: Docker;
  let agent: ChildProcess | undefined;
  let output = '';
  const network: CutProxy[] = [];

  before(async function () {
    needsInstallation(this);
    if (process.platform !== 'linux' || process.getuid?.() !== 0)
      skip(this, 'a second Docker engine needs root on Linux');
    installation = await Installation.prepare();
    Object.assign(installation.env, { HOST_LOST_SECONDS: '12', AGENT_CPUS: '1' });
    await installation.up();
    engine = await startPrivateDocker({ dir: await mkdtemp(join(tmpdir(), 'far-')) });
    far = dockerClient(engine.host);
    await ensureEngineImage({ docker: far, image: IMAGE, cacheDir: cacheDir() });
    await startFarAgent();
  });
  after(async () => {
    const ended = new Promise((done) => agent?.once('exit', done));
    if (agent?.kill('SIGKILL')) await ended;
    for (const part of network) await part.close();
    await engine?.stop();
    await installation?.destroy();
  });

  async function startFarAgent(): Promise<void> {
    const { api, temporal } = installation.connection;
    const toApi = await startCutProxy(Number(new URL(api).port));
    const toTemporal = await startCutProxy(Number(temporal.split(':').at(-1)));
    network.push(toApi, toTemporal);
    const { AGENT_CPUS: _, ...env } = installation.env;
    agent = spawn(process.execPath, ['--import', 'tsx', join(ROOT, 'worker/agent.ts')], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: {
        ...env,
        ENDPOINTS_API: `http://127.0.0.1:${toApi.port}`,
        ENDPOINTS_JOIN_TOKEN: readFileSync(
          dataFiles(join(installation.dir, 'data')).joinToken,
          'utf8',
        ).trim(),
        ENDPOINTS_AGENT_DIR: join(installation.dir, 'far-agent'),
        ENDPOINTS_AGENT_NAME: 'far',
        // More than the near one has, so that the first replica comes here.
        AGENT_CPUS: '2',
        DOCKER_HOST: engine.host,
        TEMPORAL_ADDRESS: `127.0.0.1:${toTemporal.port}`,
      },
    });
    for (const stream of [agent.stdout, agent.stderr])
      stream?.on('data', (text: Buffer) => {
        output += text;
      });
    await eventually('the far host has joined', async () => (await farState()) === 'ready', {
      timeoutMs: 60_000,
    });
  }

  const farState = async () =>
    (await installation.query("SELECT state FROM hosts WHERE name = 'far'"))[0]?.state;
  const farContainers = async () => (await far.listContainers()).map(({ Id }) => Id);
  const nearContainers = () => installation.containers(NAME);
  const routes = async () =>
    (await installation.query('SELECT replica_id, state FROM routes ORDER BY replica_id')).map(
      ({ replica_id, state }) => `${String(replica_id).split('-').at(-1)} ${state}`,
    );

  function ask(path: string): Promise<Response> {
    const { gateway, namespace, token } = installation.connection;
    return fetch(`${gateway}/${namespace}/${NAME}/${path}`, {
      headers: { authorization: `Bearer ${token}` },
    });
  }

  /** Asks on and on; what was answered how often. */
  function callers() {
    const seen = new Map<number, number>();
    let stop = false;
    const calling = (async () => {
      while (!stop) {
        const answer = await ask('anything');
        await answer.text();
        seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    return {
      seen,
      end: async () => {
        stop = true;
        await calling;
      },
    };
  }

  it('loses no request and no stream; there is a second replica only once the host is lost, and the first one leaves when it is back', async () => {
    await installation.create(NAME, {
      model: { framework: 'custom', command: STUB_ENGINE },
      image: { custom: { url: IMAGE, port: 8080, healthRoute: '/health' } },
    });
    await installation.until(NAME, 'running');
    const [first] = await farContainers();
    assert.ok(first, 'it runs on the far host');
    const traffic = callers();

    for (const part of network) part.cut();
    await eventually(
      'the far host is lost',
      async () => {
        const near = await nearContainers();
        const lost = (await farState()) === 'lost';
        assert.ok(lost || near.length === 0, 'a second container before the host was lost');
        return lost;
      },
      { timeoutMs: 60_000 },
    );
    const stream = await ask(`count/${COUNT}`);
    assert.match(stream.headers.get('x-proxied-replica') ?? '-1', /-1$/);
    const counted = stream.text();
    await eventually(
      'a replacement serves',
      async () =>
        (await routes()).includes('2 ready') && (await installation.get(NAME)).status.readyReplica === 1,
      { timeoutMs: 60_000 },
    );
    assert.equal((await nearContainers()).length, 1);
    assert.deepEqual(await farContainers(), [first], 'out of reach, and running');
    await eventually('the first one drains', async () => (await routes()).join() === '1 draining,2 ready');

    for (const part of network) part.heal();
    assert.equal((await counted).trim().split('\n').length, COUNT, 'the stream is complete');
    await eventually('the first one is gone', async () => (await farContainers()).length === 0, {
      timeoutMs: 90_000,
      everyMs: 200,
    });
    await eventually('its row is closed', async () => {
      const [row] = await installation.query('SELECT stage, message FROM replicas WHERE number = 1');
      return row?.stage === 'stopped';
    });
    assert.equal(await farState(), 'ready');
    assert.doesNotMatch(
      installation.log('worker'),
      /removing orphans/,
      'its workflow stopped it, no janitor',
    );
    assert.deepEqual(await routes(), ['2 ready']);
    await traffic.end();
    assert.deepEqual([...traffic.seen.keys()], [200], output);
    await installation.remove(NAME);
  });
});
