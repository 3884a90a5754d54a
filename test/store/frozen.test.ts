import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '../../cli/services/postgres.ts';
import { migrate, openStore } from '../../store/database.ts';
import { ensureOrganization, ensureUser } from '../../store/namespaces.ts';
import { createToken } from '../../store/tokens.ts';
import { controlApi, type TestControlApi } from '../api/support.ts';
import { ask } from '../gateway/client.ts';
import { startUpstream, type Upstream } from '../gateway/upstream.ts';
import {
  createWorld,
  type RunningGateway,
  seesRoutes,
  type TestEndpoint,
  type World,
} from '../gateway/world.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';
import { familyOf } from '../support/traces.ts';

/** Well above the store's own limits; a request that hangs never ends. */
const PATIENCE_MS = 30_000;

/** A database that is there and says nothing: its processes are stopped by SIGSTOP, its sockets stay open. */
describe('store: a frozen database', function () {
  this.timeout(120_000);
  let dir: string;
  let pid = 0;
  let postgres: PostgresServer;
  let world: World;
  let gateway: RunningGateway;
  let api: TestControlApi;
  let upstream: Upstream;
  let endpoint: TestEndpoint;
  let frozen: number[] = [];

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'frozen-'));
    postgres = await startPostgres({
      dir: join(dir, 'data'),
      port: await freePort(),
      onSpawn: (spawned) => {
        pid = spawned;
      },
    });
    const store = openStore(postgres.url);
    await migrate(store);
    world = await createWorld({ url: postgres.url, store, drop: () => store.destroy() });
    await ensureUser(store, 'alice');
    await ensureOrganization(store, 'team', 'alice');
    const { token } = await createToken(store, { userName: 'alice', name: 'write', role: 'write' });
    api = controlApi(store, token);
    upstream = await startUpstream();
    endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    gateway = await world.startGateway();
    await seesRoutes(world, gateway);
  });
  after(async () => {
    thaw();
    await api.app.close();
    await world.close();
    await upstream.close();
    await postgres.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  function freeze(): void {
    frozen = familyOf(pid);
    for (const member of frozen) process.kill(member, 'SIGSTOP');
  }
  function thaw(): void {
    for (const member of frozen.splice(0).reverse()) process.kill(member, 'SIGCONT');
  }
  const list = () => api.call('GET', '/v2/endpoint/team');

  it('API answers 503 and says why, gateways serve on, and both go on when it is back', async () => {
    assert.equal((await list()).status, 200);
    freeze();
    const began = Date.now();
    // More than there are connections: those that wait for one must not hang either.
    const answers = await Promise.all(Array.from({ length: 30 }, list));
    const took = Date.now() - began;
    assert.ok(took < PATIENCE_MS, `30 answers took ${took} ms`);
    for (const { status, body } of answers) {
      assert.equal(status, 503, JSON.stringify(body));
      assert.match(body.error, /the database does not answer: try again in a moment/);
    }
    for (let i = 0; i < 20; i += 1) assert.equal((await ask(gateway.port, endpoint.path)).status, 200);

    thaw();
    await eventually('the API answers', async () => (await list()).status === 200, {
      timeoutMs: PATIENCE_MS,
    });
    const added = await world.addEndpoint();
    await world.addReplica(added, upstream.address);
    await eventually(
      'the gateway follows',
      async () => (await ask(gateway.port, added.path)).status === 200,
      {
        timeoutMs: PATIENCE_MS,
      },
    );
  });
});
