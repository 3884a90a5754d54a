import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeService } from '../../cli/up/child-process.ts';
import { isAlive, type ProcessId } from '../../cli/up/process-id.ts';
import { Supervisor, type SupervisorEvent } from '../../cli/up/supervisor.ts';
import { BACKOFF, nextDelayMs } from '../../runtime/backoff.ts';
import { eventually } from '../support/eventually.ts';

describe('cli: supervisor', () => {
  let dir: string;
  let events: SupervisorEvent[];
  let processes: { name: string; id: ProcessId }[];
  let supervisor: Supervisor;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'supervisor-'));
    events = [];
    processes = [];
    supervisor = new Supervisor({
      onEvent: (event) => events.push(event),
      onProcesses: (list) => {
        processes = list;
      },
    });
  });
  afterEach(async () => {
    await supervisor.stop(0);
    rmSync(dir, { recursive: true });
  });

  const service = (name: string, ...args: string[]) =>
    nodeService({
      name,
      entry: 'test/cli/fixtures/child.ts',
      args,
      env: process.env,
      logFile: join(dir, `${name}.log`),
      readyTimeoutMs: 20_000,
    });

  it('starts a crashed process again, says so, and keeps its process number on record', async () => {
    await supervisor.start(service('api'));
    const first = processes[0]?.id;
    assert.ok(first && isAlive(first));
    process.kill(first.pid, 'SIGKILL');
    const restarted = await eventually('a restart', () => events.find((event) => event.kind === 'restarted'));
    assert.deepEqual(events[0], { kind: 'ended', name: 'api', how: 'killed by SIGKILL', restartInMs: 200 });
    const second = processes[0]?.id;
    assert.ok(second && isAlive(second) && second.pid !== first.pid);
    assert.equal(restarted.kind === 'restarted' && restarted.pid, second.pid);
  });

  it('waits longer after each start that fails, and says why it failed', async () => {
    const flag = join(dir, 'flag');
    await supervisor.start(service('api', 'crash-if', flag));
    writeFileSync(flag, '');
    process.kill(processes[0]?.id.pid ?? 0, 'SIGKILL');
    await eventually('two failed starts', () => events.filter(({ kind }) => kind === 'failed').length >= 2);
    const waits = events.slice(0, 3).map((event) => (event.kind === 'restarted' ? -1 : event.restartInMs));
    assert.deepEqual(waits, [200, 400, 800]);
    const failed = events[1];
    assert.match(
      failed?.kind === 'failed' ? failed.why : '',
      /^api did not start \(exit code 3\): cannot go on\. Its log: /,
    );
    assert.deepEqual(processes, []);
    rmSync(flag);
    await eventually('it runs again', () => events.some(({ kind }) => kind === 'restarted'));
  });

  it('doubles its waits up to ten seconds and starts over after half a minute of running', () => {
    const delays = [0, 1, 2, 3, 4, 5, 6, 7].reduce<number[]>(
      (all) => [...all, nextDelayMs(all.at(-1) ?? 0, 100)],
      [],
    );
    assert.deepEqual(delays, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    assert.equal(nextDelayMs(10_000, BACKOFF.resetAfterMs - 1), 10_000);
    assert.equal(nextDelayMs(10_000, BACKOFF.resetAfterMs), 200);
  });

  it("fails the first start with the process's last words and leaves nothing running", async () => {
    const flag = join(dir, 'flag');
    writeFileSync(flag, '');
    await assert.rejects(supervisor.start(service('api', 'crash-if', flag)), /exit code 3.*cannot go on/);
    assert.deepEqual(events, []);
  });

  it('gives up on a first start that never becomes ready', async () => {
    const never = nodeService({
      name: 'api',
      entry: 'test/cli/fixtures/child.ts',
      env: process.env,
      logFile: join(dir, 'api.log'),
      readyTimeoutMs: 10,
    });
    await assert.rejects(supervisor.start(never), /api did not start \(not ready after 0\.01 s\)/);
    const id = processes[0]?.id;
    assert.ok(!id || !isAlive(id));
  });

  it('stops in order and does not start again what it stopped', async () => {
    await Promise.all([supervisor.start(service('api')), supervisor.start(service('temporal'))]);
    const ids = processes.map(({ id }) => id);
    await supervisor.stop(5000, ['api']);
    assert.deepEqual(
      processes.map(({ name }) => name),
      ['temporal'],
    );
    await supervisor.stop(5000);
    assert.deepEqual(processes, []);
    assert.deepEqual(ids.map(isAlive), [false, false]);
    assert.deepEqual(events, []);
  });

  it('kills what does not end within the grace time', async () => {
    await supervisor.start(service('api', 'stubborn'));
    const id = processes[0]?.id;
    assert.ok(id);
    await supervisor.stop(100);
    assert.equal(isAlive(id), false);
  });

  it('does not wait for a start that is under way when it is told to stop', async () => {
    const starting = supervisor.start(service('api'));
    const failed = assert.rejects(starting, /told to stop/);
    const id = processes[0]?.id;
    assert.ok(id);
    await supervisor.stop(5000);
    await failed;
    assert.equal(isAlive(id), false);
  });
});
