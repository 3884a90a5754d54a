import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { usageByToken } from '../../store/usage.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';
import { ask } from './client.ts';
import { scrape } from './scrape.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type World } from './world.ts';

const ROOT = resolve(import.meta.dirname, '../..');

describe('gateway: process', () => {
  let world: World;
  let dir: string;
  const children: ChildProcess[] = [];
  before(async () => {
    world = await createWorld();
    dir = mkdtempSync(join(tmpdir(), 'gateway-process-'));
  });
  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    await world.close();
    rmSync(dir, { recursive: true, force: true });
  });

  function start(env: Record<string, string>) {
    const child = spawn(process.execPath, ['--import', 'tsx', 'api/gateway/main.ts'], {
      cwd: ROOT,
      env: { ...process.env, ENDPOINTS_DATA_DIR: dir, TEMPORAL_ADDRESS: '127.0.0.1:1', ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    children.push(child);
    const run = { child, stdout: '', stderr: '', ready: false };
    child.stdout?.on('data', (chunk) => {
      run.stdout += chunk;
    });
    child.stderr?.on('data', (chunk) => {
      run.stderr += chunk;
    });
    child.on('message', () => {
      run.ready = true;
    });
    return run;
  }

  /** One that routes for the world, on a port of its own. */
  async function serving(env: Record<string, string> = {}) {
    const port = await freePort();
    const run = start({
      DATABASE_URL: world.db.url,
      GATEWAY_PORT: String(port),
      ENDPOINTS_SECRET_KEY: world.secretKey,
      ...env,
    });
    await eventually('ready', () => run.ready, STARTS);
    return { run, port };
  }

  it('serves, says that it is ready, and ends in order on SIGTERM', async () => {
    const upstream = await startUpstream((_req, res) => setTimeout(() => res.end('slow'), 300));
    const endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    const { run, port } = await serving();
    const asked = ask(port, endpoint.path);
    await eventually('under way', () => upstream.requests.length === 1);
    run.child.kill('SIGTERM');
    assert.equal((await asked).body, 'slow');
    const [code] = await once(run.child, 'exit');
    assert.equal(code, 0);
    assert.deepEqual(await world.db.store.selectFrom('gateways').selectAll().execute(), []);
    await upstream.close();
  });

  it('has told the store of all but the last second whenever it is killed', async () => {
    const upstream = await startUpstream((_req, res) => res.end('ok'));
    const endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    const { run, port } = await serving();
    const counted = async () => {
      const span = { from: new Date(Date.now() - 3_600_000), to: new Date(Date.now() + 60_000) };
      const usage = await usageByToken(world.db.store, endpoint.id, span);
      return usage.reduce((sum, row) => sum + row.requests, 0);
    };
    /** One after the other, so the first ones are those that are counted. */
    const answeredAt: number[] = [];
    const agent = new Agent({ keepAlive: true });
    let asking = true;
    const caller = (async () => {
      while (asking) {
        const answer = await ask(port, endpoint.path, { agent }).catch(() => null);
        if (answer?.status !== 200) return;
        answeredAt.push(performance.now());
        await sleep(10);
      }
    })();
    await eventually('reports', async () => (await counted()) > 0);
    /** Age of the oldest answer that a kill at `at` loses, in milliseconds. */
    const lostMs = async (at: number) => Math.max(0, at - (answeredAt[await counted()] ?? at));
    const moments: number[] = [];
    for (const until = performance.now() + 4000; performance.now() < until; await sleep(20))
      moments.push(await lostMs(performance.now()));
    asking = false;
    const [pid] = listened(run);
    assert.ok(pid);
    const killedAt = performance.now();
    process.kill(pid, 'SIGKILL');
    await caller;
    await eventually('ended', () => !runs(pid));
    agent.destroy();
    // A busy machine may stop a process for a while, but not at one moment in ten.
    const late = moments.filter((ms) => ms > 1000);
    assert.ok(late.length <= moments.length / 10, `${late.length} of ${moments.length} moments: ${late}`);
    const lost = await lostMs(killedAt);
    assert.ok(lost <= Math.max(1000, ...moments) + 500, `${lost} ms lost`);
    assert.ok((await counted()) <= answeredAt.length + 1, 'nothing counts twice');
    run.child.kill('SIGTERM');
    await once(run.child, 'exit');
    await upstream.close();
  });

  it('starts without store and Temporal, and answers 503 until the store is there', async () => {
    const port = await freePort();
    const run = start({
      DATABASE_URL: `postgresql://postgres@127.0.0.1:${await freePort()}/none`,
      GATEWAY_PORT: String(port),
    });
    const answer = await eventually('answers', () => ask(port, '/acme/any'));
    assert.equal(answer.status, 503);
    assert.equal(run.ready, false);
    run.child.kill('SIGTERM');
    const [code] = await once(run.child, 'exit');
    assert.equal(code, 0);
  });

  it('says in one line that its port is in use, and ends', async () => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await once(blocker, 'listening');
    const address = blocker.address();
    assert.ok(typeof address === 'object' && address);
    const run = start({ DATABASE_URL: world.db.url, GATEWAY_PORT: String(address.port) });
    const [code] = await once(run.child, 'close');
    blocker.close();
    assert.equal(code, 1);
    assert.equal(
      run.stderr,
      `gateway: 127.0.0.1:${address.port} is in use: stop what listens there or set GATEWAY_PORT to another port\n`,
    );
  });

  it('says in one line what is missing or wrong in its configuration, and ends', async () => {
    for (const [env, line] of [
      [{ DATABASE_URL: '' }, /^gateway: DATABASE_URL is not set: .*\n$/],
      [{ DATABASE_URL: world.db.url, GATEWAY_PORT: 'many' }, /^gateway: .*gateway\.port.*\n$/],
    ] as const) {
      const run = start(env);
      const [code] = await once(run.child, 'close');
      assert.equal(code, 1);
      assert.match(run.stderr, line);
    }
  });

  describe('several', () => {
    let run: ReturnType<typeof start>;
    let upstream: Upstream;
    let path: string;
    let port: number;
    before(async () => {
      upstream = await startUpstream((_req, res) => setTimeout(() => res.end('ok'), 20));
      const endpoint = await world.addEndpoint();
      await world.addReplica(endpoint, upstream.address);
      path = endpoint.path;
      ({ run, port } = await serving({ GATEWAY_PROCESSES: '2' }));
    });
    after(() => upstream.close());

    it('tell of all of them, whichever is scraped', async () => {
      for (let i = 0; i < 10; i += 1) assert.equal((await ask(port, path)).status, 200);
      const said = await scrape(port);
      assert.deepEqual(
        said
          .values('gateway_store_connected')
          .map(({ pid }) => pid)
          .sort(byNumber),
        listened(run).sort(byNumber),
      );
      assert.equal(said.total('gateway_accepted_requests'), 10);
      assert.equal(said.total('gateway_responses_total', 'class="2xx"'), 10);
      assert.equal(said.total('gateway_first_byte_seconds_count'), 10);
    });

    it('one that does not answer is left out of a scrape, and is in the next one', async () => {
      const [silent = 0, other] = listened(run);
      process.kill(silent, 'SIGSTOP');
      try {
        // The one that is stopped may have taken the connection: then it is for the other to take the next.
        const pids = await eventually(
          'told',
          async () => {
            const said = await Promise.race([scrape(port), sleep(5000)]);
            return said?.values('gateway_store_connected').map(({ pid }) => pid);
          },
          { timeoutMs: 60_000 },
        );
        assert.deepEqual(pids, [other]);
      } finally {
        process.kill(silent, 'SIGCONT');
      }
      await eventually(
        'both',
        async () => (await scrape(port)).values('gateway_store_connected').length === 2,
      );
    });

    it('are replaced one by one on SIGHUP, and no request notices', async () => {
      const before = listened(run);
      assert.equal(before.length, 2);
      const agent = new Agent({ keepAlive: true });
      let asking = true;
      const failures: unknown[] = [];
      let answers = 0;
      const clients = Array.from({ length: 8 }, async (_, i) => {
        while (asking) {
          // Half of them open a connection for every request.
          const answer = await ask(port, path, i % 2 ? { agent } : {}).catch((error: unknown) => ({
            status: String(error),
          }));
          if (answer.status === 200) answers += 1;
          else failures.push(answer.status);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      });
      await eventually('traffic', () => answers > 20);
      run.child.kill('SIGHUP');
      await eventually('both replaced', () => run.stdout.includes('"all processes replaced"'), STARTS);
      await eventually('the old ones have ended', () => before.every((pid) => !runs(pid)));
      const answersThen = answers;
      await eventually('still traffic', () => answers > answersThen + 20);
      asking = false;
      await Promise.all(clients);
      agent.destroy();
      assert.deepEqual(failures, []);
      assert.equal(listened(run).length, 4);
    });

    it('are started again when they end, and all end with the one that started them', async () => {
      const before = listened(run);
      process.kill(before.at(-1) ?? 0, 'SIGKILL');
      assert.equal((await ask(port, path)).status, 200);
      await eventually('started again', () => listened(run).length > before.length, STARTS);
      run.child.kill('SIGKILL');
      await eventually('ended', () => listened(run).every((pid) => !runs(pid)));
    });
  }).timeout(400_000);
});

/** A process loads hundreds of modules: a second or two, much longer on a busy machine. */
const STARTS = { timeoutMs: 180_000 };

const byNumber = (a: number, b: number) => a - b;

/** Process numbers of those that listened, in order. */
function listened({ stdout }: { stdout: string }): number[] {
  return [...stdout.matchAll(/^\{.*"pid":(\d+).*"msg":"listening"\}$/gm)].map(([, pid]) => Number(pid));
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
