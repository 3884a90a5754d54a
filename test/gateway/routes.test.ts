import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import {
  addRoute,
  drainState,
  forgetGateway,
  forgetSilentGateways,
  removeRoute,
  reportGateway,
  startDraining,
} from '../../store/routes.ts';
import { Vault } from '../../store/secrets.ts';
import { loadChangedEndpoints, loadEndpoints } from '../../store/snapshot.ts';
import { createWorld, type TestEndpoint, type World } from './world.ts';

describe('store: routes and gateways', () => {
  let world: World;
  let endpoint: TestEndpoint;
  let replicaId: string;
  before(async () => {
    world = await createWorld();
  });
  after(() => world.close());
  beforeEach(async () => {
    endpoint = await world.addEndpoint();
    replicaId = await world.addReplica(endpoint, '127.0.0.1:1000');
  });
  afterEach(() => world.db.store.deleteFrom('gateways').execute());

  const store = () => world.db.store;
  const report = (gatewayId: string, version: number, inFlight: Record<string, number> = {}) =>
    reportGateway(store(), {
      gatewayId,
      version,
      loads: [
        {
          endpointId: endpoint.id,
          inFlight,
          pending: 0,
          requests: 1,
          lastRequestAt: new Date(),
          answers: {},
        },
      ],
    });
  const route = (address: string) =>
    addRoute(store(), world.vault, { replicaId, endpointId: endpoint.id, address, engineKey: 'key' });
  const routed = async () => {
    const { endpoints } = await loadEndpoints(store(), world.vault);
    return endpoints.find((e) => e.id === endpoint.id)?.replicas;
  };

  it('reads a route back with its engine key in the clear, stored encrypted', async () => {
    await route('127.0.0.1:1001');
    assert.deepEqual(await routed(), [
      { replicaId, address: '127.0.0.1:1001', engineKey: 'key', state: 'ready' },
    ]);
    const row = await store()
      .selectFrom('routes')
      .selectAll()
      .where('replica_id', '=', replicaId)
      .executeTakeFirstOrThrow();
    assert.ok(!row.engine_key.includes('key'));
  });

  it('says so when the secret key is not the one the routes were stored with', async () => {
    await assert.rejects(loadEndpoints(store(), new Vault(Buffer.alloc(32))), /has another secret key/);
  });

  it('never reopens a draining replica when an earlier step runs again', async () => {
    await startDraining(store(), replicaId);
    await route('127.0.0.1:1002');
    assert.equal((await routed())?.[0]?.state, 'draining');
  });

  it('refuses what is not an address', async () => {
    for (const address of ['', 'a b:1', '127.0.0.1:99999', 'https://127.0.0.1:1'])
      await assert.rejects(route(address), /is not an address of a replica/, address);
  });

  it('gives a replica that is over no route', async () => {
    await removeRoute(store(), replicaId);
    await store()
      .updateTable('replicas')
      .set({ stopped_at: new Date() })
      .where('id', '=', replicaId)
      .execute();
    await route('127.0.0.1:1003');
    assert.deepEqual(await routed(), []);
  });

  it('gives the same version when a drain is started again, and the newest one when the route is gone', async () => {
    const version = await startDraining(store(), replicaId);
    assert.equal(await startDraining(store(), replicaId), version);
    await removeRoute(store(), replicaId);
    await removeRoute(store(), replicaId);
    const newest = (await loadEndpoints(store(), world.vault)).version;
    assert.equal(await startDraining(store(), replicaId), newest);
  });

  it('lets no gateway see a version while a lower one is still uncommitted', async () => {
    const other = await world.addEndpoint();
    const otherReplica = await world.addReplica(other, '127.0.0.1:1004');
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let began: () => void = () => undefined;
    const drawn = new Promise<void>((resolve) => {
      began = resolve;
    });
    // A drain that has drawn its version but commits late.
    const slow = store()
      .transaction()
      .execute(async (tx) => {
        const version = await startDrainingIn(tx, replicaId);
        began();
        await held;
        return version;
      });
    await drawn;
    const quick = startDraining(store(), otherReplica);
    const seen = await Promise.race([
      quick,
      new Promise<null>((resolve) => setTimeout(() => resolve(null), 200)),
    ]);
    assert.equal(seen, null);
    release();
    assert.ok((await slow) < (await quick));
  });

  async function startDrainingIn(tx: World['db']['store'], id: string): Promise<number> {
    // The statements of startDraining, which opens a transaction of its own.
    await sql`SELECT pg_advisory_xact_lock(hashtext('route_version'))`.execute(tx);
    const { rows } = await sql<{ version: number }>`UPDATE routes SET state = 'draining',
      version = nextval('route_version') WHERE replica_id = ${id} RETURNING version`.execute(tx);
    return rows[0]?.version ?? 0;
  }

  it('is caught up when every gateway has read the version, and counts what they have in flight', async () => {
    const version = await startDraining(store(), replicaId);
    const state = () => drainState(store(), { replicaId, version });
    assert.deepEqual(await state(), { inFlight: 0, caughtUp: true });
    await report('g1', version, { [replicaId]: 2 });
    await report('g2', version - 1, { [replicaId]: 3, other: 9 });
    assert.deepEqual(await state(), { inFlight: 5, caughtUp: false });
    await report('g2', version + 5, { [replicaId]: 1 });
    assert.deepEqual(await state(), { inFlight: 3, caughtUp: true });
    await report('g1', version);
    await report('g2', version);
    assert.deepEqual(await state(), { inFlight: 0, caughtUp: true });
  });

  it('does not wait for a gateway that is silent or has signed off', async () => {
    const version = await startDraining(store(), replicaId);
    await report('silent', version - 1, { [replicaId]: 1 });
    await report('stopped', version - 1, { [replicaId]: 1 });
    assert.deepEqual(await drainState(store(), { replicaId, version }), { inFlight: 2, caughtUp: false });
    await sql`UPDATE gateways SET seen_at = now() - interval '6 seconds' WHERE id = 'silent'`.execute(
      store(),
    );
    await forgetGateway(store(), 'stopped');
    assert.deepEqual(await drainState(store(), { replicaId, version }), { inFlight: 0, caughtUp: true });
  });

  it('removes gateways silent for long, and only those', async () => {
    await report('old', 1);
    await report('new', 1);
    await sql`UPDATE gateways SET seen_at = now() - interval '2 hours' WHERE id = 'old'`.execute(store());
    await forgetSilentGateways(store(), 3600);
    assert.deepEqual(await store().selectFrom('gateways').select('id').execute(), [{ id: 'new' }]);
  });

  it('moves last use forward, never back, and drops the load of endpoints that are gone', async () => {
    const used = async () =>
      (
        await store()
          .selectFrom('endpoints')
          .select('last_used_at')
          .where('id', '=', endpoint.id)
          .executeTakeFirstOrThrow()
      ).last_used_at;
    const at = new Date('2026-01-02T03:04:05.678Z');
    const load = {
      endpointId: endpoint.id,
      inFlight: {},
      pending: 1,
      requests: 3,
      lastRequestAt: at,
      answers: {},
    };
    const gone = { ...load, endpointId: randomUUID() };
    await reportGateway(store(), { gatewayId: 'g', version: 1, loads: [load, gone] });
    assert.deepEqual(await used(), at);
    await reportGateway(store(), {
      gatewayId: 'g',
      version: 1,
      loads: [{ ...load, lastRequestAt: new Date(0) }],
    });
    assert.deepEqual(await used(), at);
    assert.equal((await store().selectFrom('gateway_load').selectAll().execute()).length, 1);
  });

  it('reads changed endpoints by id and by version, so that a version never claims more than was read', async () => {
    const { version } = await loadEndpoints(store(), world.vault);
    const [named, unnamed] = [await world.addEndpoint(), await world.addEndpoint()];
    await world.addReplica(unnamed, '127.0.0.1:1005');
    const goneId = randomUUID();
    const read = await loadChangedEndpoints(store(), world.vault, {
      ids: [named.id, goneId],
      sinceVersion: version,
    });
    assert.deepEqual(read.endpoints.map((e) => e.id).sort(), [named.id, unnamed.id].sort());
    assert.ok(read.version > version);
  });
});
