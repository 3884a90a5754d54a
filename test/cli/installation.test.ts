import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { takeLock } from '../../cli/up/lock.ts';
import { isAlive, processId } from '../../cli/up/process-id.ts';
import { readState } from '../../cli/up/state.ts';
import { eventually } from '../support/eventually.ts';
import { ended, endpoints, fixture, testInstallation } from './support.ts';

type Installation = Awaited<ReturnType<typeof testInstallation>>;

describe('cli: one data directory', () => {
  let installation: Installation;
  beforeEach(async () => {
    installation = await testInstallation();
  });
  afterEach(() => installation.remove());

  async function supervise() {
    const running = fixture('supervise.ts', installation.env);
    await eventually('the supervisor is up', () => running.lines.some((line) => 'up' in line));
    return running;
  }

  it('refuses a second instance in one line that names the first', async () => {
    const lock = takeLock(join(installation.dataDir, 'lock'));
    assert.ok(lock.ok);
    const second = await endpoints(['up', '--no-sample'], installation.env);
    assert.equal(second.code, 1);
    assert.match(
      second.stderr,
      new RegExp(`^error: process ${process.pid} already runs on ${installation.dataDir}: .*\n$`),
    );
    assert.equal(existsSync(join(installation.dataDir, 'logs')), false);
  });

  it('says in one line which port is taken and which variable moves it, before anything is started', async () => {
    const port = Number(installation.env.GATEWAY_PORT);
    const server = createServer().listen(port, '127.0.0.1');
    try {
      const outcome = await endpoints(['up', '--no-sample'], installation.env);
      assert.equal(outcome.code, 1);
      assert.equal(
        outcome.stderr,
        `error: port ${port} (the gateway) is in use: stop the program that listens there, or set GATEWAY_PORT to a free port\n`,
      );
      assert.equal(existsSync(join(installation.dataDir, 'logs')), false);
      assert.equal(existsSync(join(installation.dataDir, 'lock')), false);
    } finally {
      server.close();
    }
  });

  it('gets rid of what a killed supervisor left running, and starts on', async () => {
    const first = await supervise();
    const { processes } = readState(installation.dataDir);
    assert.deepEqual(
      processes.map(({ name }) => name),
      ['api', 'temporal'],
    );
    first.child.kill('SIGKILL');
    await ended(first.child);
    const [api, temporal] = processes.map(({ id }) => id);
    assert.ok(api && temporal);
    await eventually('our own process ends by itself', () => !isAlive(api));
    assert.ok(isAlive(temporal), 'a program that knows nothing of us goes on');

    const second = await supervise();
    assert.deepEqual(second.lines[0], { leftovers: ['temporal'] });
    assert.equal(isAlive(temporal), false);
    second.child.kill('SIGTERM');
    await ended(second.child);
  });

  it('records nothing as running after an orderly stop, and keeps its files private', async () => {
    const { child } = await supervise();
    const state = readState(installation.dataDir);
    assert.equal(state.supervisor?.pid, child.pid);
    child.kill('SIGTERM');
    await ended(child);
    assert.deepEqual(
      state.processes.map(({ id }) => isAlive(id)),
      [false, false],
    );
    const after = readState(installation.dataDir);
    assert.deepEqual([after.supervisor, after.processes], [null, []]);
    assert.equal(statSync(join(installation.dataDir, 'state.json')).mode & 0o777, 0o600);
    assert.equal(existsSync(join(installation.dataDir, 'lock')), false);
  });

  it("is stopped whole by 'down'", async () => {
    const { child } = await supervise();
    const { processes } = readState(installation.dataDir);
    const outcome = await endpoints(['down'], installation.env);
    assert.deepEqual([outcome.code, outcome.stderr], [0, '']);
    await ended(child);
    assert.deepEqual(
      processes.map(({ id }) => isAlive(id)),
      [false, false],
    );
  });

  it("is cleared by 'down' after its supervisor was killed, and 'down' again finds nothing to do", async () => {
    const { child } = await supervise();
    const { processes } = readState(installation.dataDir);
    child.kill('SIGKILL');
    await ended(child);
    const outcome = await endpoints(['down'], installation.env);
    assert.equal(outcome.code, 0);
    assert.match(outcome.stdout, /^ended .*temporal\n/);
    assert.deepEqual(
      processes.map(({ id }) => isAlive(id)),
      [false, false],
    );
    assert.equal((await endpoints(['down'], installation.env)).stdout, 'removed 0 engine containers\n');
  });

  it('is never mistaken for running because its process number was given to another program', async () => {
    const self = processId(process.pid);
    assert.ok(self);
    const lock = takeLock(join(installation.dataDir, 'lock'));
    assert.ok(lock.ok);
    const text = readFileSync(join(installation.dataDir, 'lock'), 'utf8');
    assert.deepEqual(JSON.parse(text), self);
    lock.lock.release();
  });
});
