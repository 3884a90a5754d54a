import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { JoinRequest } from '../../worker/agent/control-api.ts';
import { needDocker } from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';
import { needs } from '../support/needs.ts';
import { sharedTemporal, type TestTemporal } from '../support/temporal.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** The agent as its own process, with a control API that only answers joins. */
describe('agent: the process', () => {
  let temporal: TestTemporal;
  let api: Server;
  let dir: string;
  let child: ChildProcess | undefined;
  let output = '';
  let joins: JoinRequest[] = [];
  let status = 200;

  before(async function () {
    needs(this, 'TEMPORAL_CLI_PATH');
    await needDocker(this);
    temporal = await sharedTemporal();
    dir = await mkdtemp(join(tmpdir(), 'agent-'));
    api = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      response.writeHead(status, { 'content-type': 'application/json' });
      if (status !== 200) {
        response.end('{"error":"no such token"}');
        return;
      }
      const body = JSON.parse(Buffer.concat(chunks).toString()) as JoinRequest;
      joins.push(body);
      const { address, namespace } = temporal.config;
      response.end(
        JSON.stringify({
          hostId: body.hostId,
          installation: 'itest',
          temporal: { address, namespace },
          hub: { endpoint: 'http://127.0.0.1:9' },
        }),
      );
    });
    await new Promise<void>((done) => api.listen(0, '127.0.0.1', done));
  });
  beforeEach(() => {
    joins = [];
    status = 200;
    output = '';
  });
  afterEach(() => {
    child?.kill('SIGKILL');
  });
  after(async () => {
    api?.closeAllConnections();
    api?.close();
    if (dir) await rm(dir, { recursive: true, force: true });
  });

  function start(): ChildProcess {
    const { port } = api.address() as AddressInfo;
    const started = spawn(process.execPath, ['--import', 'tsx', join(ROOT, 'worker/agent.ts')], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: {
        ...process.env,
        ENDPOINTS_API: `http://127.0.0.1:${port}`,
        ENDPOINTS_JOIN_TOKEN: 'token-of-the-test',
        ENDPOINTS_AGENT_DIR: dir,
        TEMPORAL_ADDRESS: '',
        TEMPORAL_NAMESPACE: '',
        AGENT_CPUS: '1',
      },
    });
    for (const stream of [started.stdout, started.stderr])
      stream?.on('data', (text: Buffer) => {
        output += text;
      });
    child = started;
    return started;
  }

  const exitOf = (process: ChildProcess) =>
    new Promise<number | null>((done) => process.once('exit', (code) => done(code)));

  it('joins, serves the queue of its host, keeps its identity, and ends in an orderly way', async () => {
    const first = start();
    await new Promise((done) => first.once('message', done));
    const [join] = joins;
    assert.ok(join);
    assert.equal(join.inventory.cpus, 1);
    assert.equal('d' in join.publicKey, false);
    await eventually('its worker polls', async () => {
      const { pollers } = await temporal.client.workflowService.describeTaskQueue({
        namespace: temporal.config.namespace,
        taskQueue: { name: `host-${join.hostId}` },
        taskQueueType: 2,
      });
      return pollers.some((poller) => poller.identity === `host-${join.hostId}@${first.pid}`);
    });
    const exit = exitOf(first);
    first.kill('SIGTERM');
    assert.equal(await exit, 0, output);

    const second = start();
    await new Promise((done) => second.once('message', done));
    assert.equal(joins.at(-1)?.hostId, join.hostId);
    assert.deepEqual(joins.at(-1)?.publicKey, join.publicKey);
    const end = exitOf(second);
    second.disconnect();
    assert.equal(await end, 0, 'it ends when its supervisor is gone');
    assert.doesNotMatch(output, /token-of-the-test/);
  });

  it('waits for an API that does not answer yet', async () => {
    status = 503;
    const agent = start();
    await eventually('its complaint', () => output.includes('does not answer yet'));
    status = 200;
    await new Promise((done) => agent.once('message', done));
    assert.equal(joins.length, 1);
  });

  it('ends and says why when the API refuses its token', async () => {
    status = 401;
    assert.equal(await exitOf(start()), 1);
    assert.match(output, /answered 401 to the join: .*no such token/);
  });
});
