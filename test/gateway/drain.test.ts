import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { pino } from 'pino';
import { createGateway } from '../../api/gateway/server.ts';
import { drainState, forgetGateway, removeRoute, startDraining } from '../../store/routes.ts';
import { Vault } from '../../store/secrets.ts';
import { eventually } from '../support/eventually.ts';
import { ask, open } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, GATEWAY_CONFIG, type RunningGateway, seesRoutes, type World } from './world.ts';

describe('gateway: drain', () => {
  let world: World;
  let gateways: RunningGateway[];
  let [first, second]: Upstream[] = [];
  let held: ServerResponse[] = [];
  before(async () => {
    world = await createWorld();
    gateways = [await world.startGateway(), await world.startGateway()];
  });
  after(() => world.close());
  beforeEach(async () => {
    held = [];
    const handler = (req: { url?: string | undefined }, res: ServerResponse) => {
      if (req.url === '/slow') held.push(res);
      else res.end('ok');
    };
    first = await startUpstream(handler);
    second = await startUpstream(handler);
  });
  afterEach(async () => {
    await first?.close();
    await second?.close();
  });

  const drain = (replicaId: string, version: number) => drainState(world.db.store, { replicaId, version });

  async function served() {
    assert.ok(first && second);
    const endpoint = await world.addEndpoint();
    const replicaId = await world.addReplica(endpoint, first.address);
    await world.addReplica(endpoint, second.address);
    for (const gateway of gateways) await seesRoutes(world, gateway);
    return { endpoint, replicaId, first, second };
  }

  it('sends nothing to a replica once every gateway has seen that it drains, and loses nothing on the way', async () => {
    const { endpoint, replicaId, first, second } = await served();
    let stop = false;
    let failed = 0;
    const traffic = gateways.flatMap((gateway) =>
      [1, 2, 3].map(async () => {
        while (!stop) if ((await ask(gateway.port, endpoint.path)).status !== 200) failed += 1;
      }),
    );
    await eventually('both are used', () => first.requests.length > 20 && second.requests.length > 20);
    const version = await startDraining(world.db.store, replicaId);
    await eventually('drained', async () => {
      const { inFlight, caughtUp } = await drain(replicaId, version);
      return caughtUp && inFlight === 0;
    });
    const served1 = first.requests.length;
    const served2 = second.requests.length;
    await removeRoute(world.db.store, replicaId);
    await eventually('traffic goes on', () => second.requests.length > served2 + 50);
    assert.equal(first.requests.length, served1);
    // Its container can go now.
    await first.close();
    await eventually('traffic still goes on', () => second.requests.length > served2 + 100);
    stop = true;
    await Promise.all(traffic);
    assert.equal(failed, 0);
  });

  it('waits for requests in flight, and for no longer', async () => {
    const { endpoint, replicaId, second } = await served();
    const asked = gateways.map((gateway) => ask(gateway.port, `${endpoint.path}/slow`));
    await eventually('both are under way', () => held.length === 2);
    // Both gateways may have picked the same replica or not: occupy each with one more, so that this one has some.
    asked.push(...gateways.map((gateway) => ask(gateway.port, `${endpoint.path}/slow`)));
    await eventually('all are under way', () => held.length === 4);
    const version = await startDraining(world.db.store, replicaId);
    await eventually('all gateways know', async () => (await drain(replicaId, version)).caughtUp);
    assert.equal((await drain(replicaId, version)).inFlight, 2);
    for (const res of held) res.end('done');
    await Promise.all(asked);
    await eventually('drained', async () => (await drain(replicaId, version)).inFlight === 0);
    assert.equal(second.requests.length, 2);
  });

  it('sends a held request only to a replica that is ready, not to one that drains', async () => {
    const { endpoint, replicaId, first, second } = await served();
    const other = (await replicasOf(endpoint.id)).find((id) => id !== replicaId);
    assert.ok(other);
    await startDraining(world.db.store, replicaId);
    await startDraining(world.db.store, other);
    const gateway = gateways[0];
    assert.ok(gateway);
    await seesRoutes(world, gateway);
    const { req } = open(gateway.port, endpoint.path);
    await eventually('held', () => gateway.stats().held === 1);
    assert.equal(first.requests.length + second.requests.length, 0);
    req.destroy();
    await eventually('gone', () => gateway.stats().held === 0);
  });

  it('waits for a gateway that has begun to read the routes but does not act on them yet', async () => {
    const { replicaId } = await served();
    // It cannot open the engine keys, so it gets no further than its registration.
    const stuck = createGateway({
      store: world.db.store,
      databaseUrl: world.db.url,
      vault: new Vault(Buffer.alloc(32)),
      wake: async () => undefined,
      log: pino({ level: 'silent' }),
      config: GATEWAY_CONFIG,
    });
    const { gatewayId } = stuck.stats();
    await eventually('registered', () =>
      world.db.store.selectFrom('gateways').select('id').where('id', '=', gatewayId).executeTakeFirst(),
    );
    const version = await startDraining(world.db.store, replicaId);
    for (const gateway of gateways) await seesRoutes(world, gateway);
    assert.equal((await drain(replicaId, version)).caughtUp, false);
    await stuck.close();
    await forgetGateway(world.db.store, gatewayId);
    await eventually('caught up', async () => (await drain(replicaId, version)).caughtUp);
  });

  it('reports what it has in hand, and signs off when it stops', async () => {
    const gateway = await world.startGateway();
    const { endpoint, replicaId } = await served();
    await seesRoutes(world, gateway);
    const other = (await replicasOf(endpoint.id)).find((id) => id !== replicaId);
    assert.ok(other);
    const { response } = open(gateway.port, `${endpoint.path}/slow`);
    const { gatewayId } = gateway.stats();
    const load = () =>
      world.db.store
        .selectFrom('gateway_load')
        .selectAll()
        .where('gateway_id', '=', gatewayId)
        .where('endpoint_id', '=', endpoint.id)
        .executeTakeFirst();
    const row = await eventually('reported', async () => {
      const found = await load();
      return found && Object.keys(found.in_flight).length > 0 ? found : false;
    });
    assert.deepEqual(Object.values(row.in_flight), [1]);
    assert.deepEqual([row.pending, row.requests], [1, 1]);
    const closing = gateway.close();
    held[0]?.end('done');
    assert.equal((await response).statusCode, 200);
    await closing;
    assert.equal(await load(), undefined);
    const { last_used_at } = await world.db.store
      .selectFrom('endpoints')
      .select('last_used_at')
      .where('id', '=', endpoint.id)
      .executeTakeFirstOrThrow();
    assert.deepEqual(last_used_at, row.last_request_at);
  });

  async function replicasOf(endpointId: string): Promise<string[]> {
    const rows = await world.db.store
      .selectFrom('routes')
      .select('replica_id')
      .where('endpoint_id', '=', endpointId)
      .execute();
    return rows.map((row) => row.replica_id);
  }

  it('ends for an endpoint that is deleted right after its last request', async () => {
    const { endpoint, replicaId } = await served();
    // One on each of the two replicas.
    const port = gateways[0]?.port ?? 0;
    const asked = [1, 2].map(() => ask(port, `${endpoint.path}/slow`));
    await eventually('told of', async () => (await drain(replicaId, 0)).inFlight === 1);
    for (const res of held) res.end('done');
    await Promise.all(asked);
    const { store } = world.db;
    await store.updateTable('endpoints').set({ phase: 'deleted' }).where('id', '=', endpoint.id).execute();
    const version = await startDraining(world.db.store, replicaId);
    await eventually('drained', async () => {
      const { inFlight, caughtUp } = await drain(replicaId, version);
      return caughtUp && inFlight === 0;
    });
  });
});
