import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';
import { ask } from './client.ts';
import { startUpstream } from './upstream.ts';
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

  it('serves, says that it is ready, and ends in order on SIGTERM', async () => {
    const upstream = await startUpstream((_req, res) => setTimeout(() => res.end('slow'), 300));
    const endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    const port = await freePort();
    const run = start({
      DATABASE_URL: world.db.url,
      GATEWAY_PORT: String(port),
      ENDPOINTS_SECRET_KEY: world.secretKey,
    });
    await eventually('ready', () => run.ready);
    const asked = ask(port, endpoint.path);
    await eventually('under way', () => upstream.requests.length === 1);
    run.child.kill('SIGTERM');
    assert.equal((await asked).body, 'slow');
    const [code] = await once(run.child, 'exit');
    assert.equal(code, 0);
    assert.deepEqual(await world.db.store.selectFrom('gateways').selectAll().execute(), []);
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
});
