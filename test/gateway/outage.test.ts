import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { pino } from 'pino';
import { createGateway } from '../../api/gateway/server.ts';
import { type PostgresServer, startPostgres } from '../../cli/services/postgres.ts';
import { migrate, openStore } from '../../store/database.ts';
import { startDraining } from '../../store/routes.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';
import { ask, bearer } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import {
  createWorld,
  GATEWAY_CONFIG,
  type RunningGateway,
  seesRoutes,
  type TestEndpoint,
  type World,
} from './world.ts';

describe('gateway: the store goes away', () => {
  let dir: string;
  let port: number;
  let postgres: PostgresServer;
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  let endpoint: TestEndpoint;
  let token: string;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'gateway-outage-'));
    port = await freePort();
    await up();
    const store = openStore(postgres.url);
    await migrate(store);
    world = await createWorld({ url: postgres.url, store, drop: () => store.destroy() });
    upstream = await startUpstream();
    endpoint = await world.addEndpoint({ type: 'private' });
    await world.addReplica(endpoint, upstream.address);
    token = await world.token();
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
    await postgres.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  async function up(): Promise<void> {
    postgres = await startPostgres({ dir: join(dir, 'data'), port });
  }
  const status = async (to: TestEndpoint, from = gateway) =>
    (await ask(from.port, to.path, { headers: bearer(token) })).status;
  const health = async () => JSON.parse((await ask(gateway.port, '/health')).body);

  it('goes on serving known routes and tokens, and says that the store is away', async () => {
    assert.equal(await status(endpoint), 200);
    await postgres.stop();
    await eventually('noticed', async () => (await health()).store === 'away');
    assert.equal((await health()).status, 'ok');
    for (let i = 0; i < 20; i++) assert.equal(await status(endpoint), 200);
    assert.equal((await ask(gateway.port, endpoint.path, { headers: bearer('hf_unknown') })).status, 401);
  });

  it('starts without a store, answers 503, and serves as soon as the store is there', async () => {
    const early = createGateway({
      store: world.db.store,
      databaseUrl: world.db.url,
      vault: world.vault,
      wake: async () => undefined,
      log: pino({ level: 'silent' }),
      config: GATEWAY_CONFIG,
    });
    const earlyPort = await early.listen({ host: '127.0.0.1', port: 0 });
    try {
      const answer = await ask(earlyPort, endpoint.path, { headers: bearer(token) });
      assert.equal(answer.status, 503);
      assert.match(JSON.parse(answer.body).error, /the store is not there/);
      assert.equal((await ask(earlyPort, '/health')).status, 503);
      await up();
      await early.ready;
      assert.equal(await status(endpoint, { ...early, port: earlyPort }), 200);
    } finally {
      await early.close();
    }
  });

  it('reads everything again when the store is back, and reports again', async () => {
    await eventually('connected', async () => (await health()).store === 'connected');
    const added = await world.addEndpoint({ type: 'private' });
    await world.addReplica(added, upstream.address);
    await eventually('served', async () => (await status(added)) === 200);
    const { gatewayId, routeVersion, requests } = gateway.stats();
    await eventually('reported', async () => {
      const { rows } = await sql<{ version: number; requests: number }>`
        SELECT g.version, sum(l.requests)::int AS requests FROM gateways g
        JOIN gateway_load l ON l.gateway_id = g.id WHERE g.id = ${gatewayId} GROUP BY g.id`.execute(
        world.db.store,
      );
      return rows[0]?.version === routeVersion && rows[0].requests === requests;
    });
    // One before, 20 while the store was away, one through the gateway that waited for it.
    await eventually('metered', async () => {
      const { rows } = await sql<{ requests: number }>`
        SELECT sum(requests)::int AS requests FROM usage_minutes WHERE endpoint_id = ${endpoint.id}`.execute(
        world.db.store,
      );
      return rows[0]?.requests === 22;
    });
  });

  it('misses no change made while its connections were cut', async () => {
    const added = await world.addEndpoint({ type: 'private' });
    const replica = await world.addReplica(added, upstream.address);
    await seesRoutes(world, gateway);
    for (let round = 0; round < 3; round++) {
      // The listening connection dies first, so no notification of what follows can arrive over it.
      await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()`.execute(world.db.store);
      const other = await world.addEndpoint({ type: 'private' });
      await world.addReplica(other, upstream.address);
      await eventually('served', async () => (await status(other)) === 200);
    }
    await startDraining(world.db.store, replica);
    await seesRoutes(world, gateway);
    await world.revoke(token);
    await eventually('token turned away', async () => (await status(endpoint)) === 401);
  });

  it('reads everything again now and then, so that a notification nobody sent is made up for', async () => {
    const watchful = await world.startGateway({ resyncMs: 200 });
    const silent = await world.addEndpoint();
    await world.addReplica(silent, upstream.address);
    await eventually('served', async () => (await ask(watchful.port, silent.path)).status === 200);
    await sql`ALTER TABLE endpoints DISABLE TRIGGER endpoints_notify`.execute(world.db.store);
    await world.setState(silent, 'paused', 'paused');
    await eventually('refused', async () => (await ask(watchful.port, silent.path)).status === 400);
    await sql`ALTER TABLE endpoints ENABLE TRIGGER endpoints_notify`.execute(world.db.store);
    await watchful.close();
  });
});
