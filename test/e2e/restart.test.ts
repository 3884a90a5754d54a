import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Client, Connection, WorkflowNotFoundError } from '@temporalio/client';
import { readState } from '../../cli/up/state.ts';
import { endpointWorkflowId, hostWorkflowId } from '../../spec/names.ts';
import { eventually } from '../support/eventually.ts';
import { docker, Installation, needsInstallation } from '../support/installation.ts';
import { familyOf, networksOf, processesOf } from '../support/traces.ts';

/** Within which Ctrl-C or SIGTERM has ended everything. */
const STOP_MS = 10_000;
const NAME = 'kept';

/**
 * Stopping and starting again, as a user or an init system does it, and outages that are not deaths: a process that
 * stands still (SIGSTOP) keeps its connections open and answers nothing.
 */
describe('end to end: stop, start again, stand still', function () {
  this.timeout(180_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    installation = await (await Installation.prepare()).up();
    await installation.create(NAME);
    await installation.until(NAME, 'running');
  });
  after(() => installation?.destroy());

  /** The engine's container: which, since when it runs, and how often Docker has started it again. */
  async function engine(): Promise<string> {
    const containers = await installation.containers(NAME);
    assert.equal(containers.length, 1, `containers: ${containers}`);
    const [seen = ''] = docker(
      'inspect',
      '--format',
      '{{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}',
      ...containers,
    );
    assert.match(seen, / running /);
    return seen;
  }

  /** A stop, and the state in which the machine is then. */
  async function stopAndLook(): Promise<void> {
    const before = await engine();
    const tookMs = await installation.stop();
    assert.ok(tookMs < STOP_MS, `it took ${tookMs} ms to stop`);
    assert.match(installation.output, /stopped; engine containers were left running/);
    assert.deepEqual(processesOf(installation), []);
    assert.equal(await engine(), before);
  }

  /** After a start: the endpoint answers, its container is still `before`, also once the agent watches it again. */
  async function resumed(before: string, startedAt: number): Promise<void> {
    const endpoint = await installation.get(NAME);
    assert.equal(endpoint.status.state, 'running', JSON.stringify(endpoint.status));
    await eventually('answers', () => installation.chat(NAME), { everyMs: 200 });
    await eventually('the agent watches its host', () => watchedSince(startedAt), {
      timeoutMs: 30_000,
      everyMs: 200,
    });
    assert.equal(await engine(), before);
    assert.equal((await installation.get(NAME)).status.readyReplica, 1);
    const replicas = await installation.query('SELECT id FROM replicas');
    assert.equal(replicas.length, 1, `replicas: ${JSON.stringify(replicas)}`);
    await installation.chat(NAME);
  }

  /** Whether the host's workflow has its watch taken up by an agent, after `startedAt`. */
  async function watchedSince(startedAt: number): Promise<boolean> {
    const [host] = await installation.query('SELECT id FROM hosts');
    const connection = await Connection.connect({ address: installation.connection.temporal });
    try {
      const { raw } = await new Client({ connection }).workflow
        .getHandle(hostWorkflowId(String(host?.id)))
        .describe();
      const watch = raw.pendingActivities?.find(({ activityType }) => activityType?.name === 'watchHost');
      return Number(watch?.lastStartedTime?.seconds ?? 0) * 1000 >= startedAt - 1000;
    } finally {
      await connection.close();
    }
  }

  it('SIGTERM ends it in time; started again at once, by npm, it takes up the same container', async () => {
    const before = await engine();
    await stopAndLook();
    const startedAt = Date.now();
    await installation.up('npm');
    await resumed(before, startedAt);
  });

  it('npm start hands SIGTERM on; after a pause longer than every time-out of the watch the same container is taken up too', async () => {
    const before = await engine();
    await stopAndLook();
    // Longer than the silence after which a host would count as lost, had anything been there to count.
    const until = Date.now() + 25_000;
    await eventually(
      '25 s have passed',
      async () => {
        assert.equal(await engine(), before);
        return Date.now() > until;
      },
      { timeoutMs: 60_000, everyMs: 500 },
    );
    const startedAt = Date.now();
    await installation.up();
    await resumed(before, startedAt);
  });

  it('refuses a second instance on the same data directory in one line that names the first', async () => {
    const { supervisor } = readState(join(installation.dir, 'data'));
    const { code, output } = await installation.cli('up', '--no-sample');
    assert.equal(code, 1);
    assert.match(output, /^error: [^\n]+\n$/);
    assert.ok(output.includes(`process ${supervisor?.pid} already runs on ${installation.dir}`), output);
    await installation.chat(NAME);
  });

  it('a write while Temporal stands still is taken, reads go on, and it takes effect afterwards', async () => {
    const { namespace } = installation.connection;
    const temporal = installation.pid('temporal');
    process.kill(temporal, 'SIGSTOP');
    try {
      const began = Date.now();
      await installation.create('meanwhile', { scaling: { minReplica: 0, scaleToZeroTimeout: 15 } });
      const paused = await installation.api('POST', `/v2/endpoint/${namespace}/${NAME}/pause`);
      assert.equal(paused.status, 200);
      assert.equal((await installation.get('meanwhile')).status.state, 'pending');
      assert.equal((await installation.get(NAME)).status.state, 'paused');
      const list = await installation.api('GET', `/v2/endpoint/${namespace}`);
      const names = (list.body as { items: { name: string }[] }).items.map(({ name }) => name);
      assert.deepEqual(names.sort(), [NAME, 'meanwhile'].sort());
      assert.ok(Date.now() - began < 5000, `five calls took ${Date.now() - began} ms`);
      assert.equal((await installation.containers(NAME)).length, 1, 'nothing can have happened yet');
    } finally {
      process.kill(temporal, 'SIGCONT');
    }
    await installation.until('meanwhile', 'running');
    await installation.chat('meanwhile');
    await eventually('the paused one stops', async () => (await installation.containers(NAME)).length === 0, {
      timeoutMs: 60_000,
    });
    await installation.remove('meanwhile');
    await installation.api('POST', `/v2/endpoint/${namespace}/${NAME}/resume`);
    await installation.until(NAME, 'running');
  });

  it('while PostgreSQL stands still the gateway serves on, and afterwards everything does', async () => {
    const before = await engine();
    await installation.chat(NAME);
    const standing = familyOf(installation.pid('postgres'));
    for (const pid of standing) process.kill(pid, 'SIGSTOP');
    try {
      // Longer than a report to the store may take, and than a gateway's connection is waited for.
      const until = Date.now() + 8000;
      let answers = 0;
      await eventually(
        '8 s have passed',
        async () => {
          await installation.chat(NAME);
          answers += 1;
          return Date.now() > until;
        },
        { everyMs: 250 },
      );
      assert.ok(answers > 3, `${answers} answers`);
    } finally {
      for (const pid of standing) process.kill(pid, 'SIGCONT');
    }
    await eventually('the API reads', () => installation.get(NAME), { timeoutMs: 30_000 });
    await installation.create('after');
    await installation.until('after', 'running');
    await installation.chat('after');
    await installation.remove('after');
    assert.equal(await engine(), before);
    assert.deepEqual((await installation.get(NAME)).status.readyReplica, 1);
    await installation.chat(NAME);
  });

  /** What the workflow of each endpoint is, as Temporal has it; null: it knows none. */
  async function workflows(): Promise<Record<string, string | null>> {
    const { temporal, namespace } = installation.connection;
    const connection = await Connection.connect({ address: temporal });
    try {
      const { workflow } = new Client({ connection });
      const names = (await installation.query("SELECT name FROM endpoints WHERE phase <> 'deleted'")).map(
        ({ name }) => String(name),
      );
      const status = async (name: string) => {
        try {
          return (await workflow.getHandle(endpointWorkflowId(namespace, name)).describe()).status.name;
        } catch (error) {
          if (error instanceof WorkflowNotFoundError) return null;
          throw error;
        }
      };
      return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await status(name)])));
    } finally {
      await connection.close();
    }
  }

  /** Its replica reports anew to the new workflow. */
  const isReady = async () => (await installation.get(NAME)).status.readyReplica === 1;

  const loseTemporalDatabase = () => {
    const folder = join(installation.dir, 'data', 'temporal');
    for (const file of readdirSync(folder)) rmSync(join(folder, file));
  };

  it('with an empty Temporal database every endpoint comes back, and containers are adopted as they run', async () => {
    const path = `/v2/endpoint/${installation.connection.namespace}`;
    for (const name of ['asleep', 'halted'])
      await installation.create(name, { scaling: { minReplica: 0, scaleToZeroTimeout: 15 } });
    await installation.until('asleep', 'running');
    assert.equal((await installation.api('POST', `${path}/asleep/scale-to-zero`)).status, 200);
    assert.equal((await installation.api('POST', `${path}/halted/pause`)).status, 200);
    await eventually(
      'only one container is left',
      async () => (await installation.containers()).length === 1,
      { timeoutMs: 60_000 },
    );
    const before = await engine();
    await stopAndLook();
    loseTemporalDatabase();
    const startedAt = Date.now();
    await installation.up();
    assert.deepEqual(await workflows(), { [NAME]: 'RUNNING', asleep: 'RUNNING', halted: 'RUNNING' });
    await eventually('answers', () => installation.chat(NAME), { everyMs: 200 });
    await eventually('the agent watches its host', () => watchedSince(startedAt), { timeoutMs: 30_000 });
    assert.equal(await engine(), before);
    await eventually('adopted', isReady, { timeoutMs: 60_000 });
    assert.equal((await installation.get('asleep')).status.state, 'scaledToZero');
    assert.equal((await installation.get('halted')).status.state, 'paused');
    await installation.chat('asleep');
  });

  it('the same when the database is lost while everything else runs', async () => {
    const [asleep = ''] = await installation.containers('asleep');
    const before = await engine();
    loseTemporalDatabase();
    const startedAt = Date.now();
    installation.kill('temporal');
    await eventually(
      'every endpoint has its workflow',
      async () => Object.values(await workflows()).every((status) => status === 'RUNNING'),
      { timeoutMs: 60_000, everyMs: 500 },
    );
    await eventually('the agent watches its host', () => watchedSince(startedAt), { timeoutMs: 60_000 });
    assert.equal(await engine(), before);
    assert.deepEqual(await installation.containers('asleep'), [asleep]);
    // What is written now takes effect, and what ends is ended by its new workflow.
    for (const name of ['asleep', 'halted']) await installation.remove(name);
    assert.equal(await engine(), before);
    await eventually('adopted', isReady, { timeoutMs: 60_000 });
    await installation.chat(NAME);
  });

  it("'endpoints down' leaves no process, container or network", async () => {
    assert.ok(processesOf(installation).length >= 6);
    assert.equal(networksOf(installation).length, 1);
    const { code, output } = await installation.cli('down');
    assert.equal(code, 0, output);
    assert.match(output, /removed 1 engine container\n/);
    assert.deepEqual(processesOf(installation), []);
    assert.deepEqual(await installation.containers(), []);
    assert.deepEqual(networksOf(installation), []);
  });

  it('what was down comes back with the next start', async () => {
    await installation.stop();
    await installation.up();
    await eventually('a new container answers', () => installation.chat(NAME), {
      timeoutMs: 60_000,
      everyMs: 500,
    });
    await engine();
  });
});

describe('end to end: a port in use', function () {
  this.timeout(60_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    installation = await Installation.prepare();
  });
  after(() => installation?.destroy());

  for (const variable of ['API_PORT', 'GATEWAY_PORT', 'TEMPORAL_PORT', 'TEMPORAL_UI_PORT', 'POSTGRES_PORT']) {
    it(`${variable}: one line names the port and the variable, and nothing runs`, async () => {
      const port = Number(installation.env[variable]);
      const other = createServer();
      await new Promise<void>((done) => other.listen(port, '127.0.0.1', done));
      try {
        const { code, output } = await installation.cli('up', '--no-sample');
        assert.equal(code, 1);
        assert.match(output, new RegExp(`^error: port ${port} [^\\n]*\\b${variable}\\b[^\\n]*\\n$`));
        assert.deepEqual(processesOf(installation), []);
      } finally {
        await new Promise((done) => other.close(done));
      }
    });
  }
});
