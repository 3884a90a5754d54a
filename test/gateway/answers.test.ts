import assert from 'node:assert/strict';
import { answersOf, answersWhereOneFails } from '../../store/answers.ts';
import { eventually } from '../support/eventually.ts';
import { ask, open } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, seesRoutes, type TestEndpoint, type World } from './world.ts';

describe('gateway: how replicas answer is reported', () => {
  let world: World;
  let gateway: RunningGateway;
  const upstreams: Upstream[] = [];
  before(async () => {
    world = await createWorld();
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });

  /** An endpoint with one replica. */
  async function endpointOf(handler: Parameters<typeof startUpstream>[0]): Promise<TestEndpoint> {
    const upstream = await startUpstream(handler);
    upstreams.push(upstream);
    const endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    await seesRoutes(world, gateway);
    return endpoint;
  }
  const counts = async ({ id }: TestEndpoint) => {
    const [row] = await answersOf(world.db.store, id);
    return row && { answers: row.answers, errors: row.errors, failing: row.failing };
  };
  const reports = (endpoint: TestEndpoint, wanted: object) =>
    eventually(`the report says ${JSON.stringify(wanted)}`, async () => {
      const now = await counts(endpoint);
      return JSON.stringify(now) === JSON.stringify(wanted);
    });

  it('counts 5xx as errors, but neither 4xx nor a route the engine does not have', async () => {
    const endpoint = await endpointOf((req, res) => res.writeHead(Number(req.url?.slice(1))).end());
    for (const status of [200, 404, 429, 501, 500, 503])
      await ask(gateway.port, `${endpoint.path}/${status}`);
    await reports(endpoint, { answers: 6, errors: 2, failing: false });
  });

  it('counts a connection closed without an answer, and an answer that broke off', async () => {
    const endpoint = await endpointOf((req, res) => {
      if (req.url === '/half') res.write('half', () => res.destroy());
      else if (req.url === '/none') res.destroy();
      else res.end('{}');
    });
    await ask(gateway.port, endpoint.path);
    await assert.rejects(ask(gateway.port, `${endpoint.path}/half`));
    await reports(endpoint, { answers: 2, errors: 1, failing: false });
    // A request with a body of unknown length cannot be repeated: one attempt, one error.
    await ask(gateway.port, `${endpoint.path}/none`, {
      method: 'POST',
      headers: { 'transfer-encoding': 'chunked' },
      body: 'x'.repeat(200_000),
    });
    await reports(endpoint, { answers: 3, errors: 2, failing: false });
  });

  it('does not count what a client gave up', async () => {
    const endpoint = await endpointOf((req, res) => {
      if (req.url === '/slow') return;
      res.end('{}');
    });
    const slow = open(gateway.port, `${endpoint.path}/slow`);
    await eventually('on its way', () => gateway.stats().inFlight === 1);
    slow.req.destroy();
    await eventually('given up', () => gateway.stats().inFlight === 0);
    await ask(gateway.port, endpoint.path);
    await reports(endpoint, { answers: 1, errors: 0, failing: false });
  });

  it('says that a replica is failing until it answers well again, and only then names the endpoint', async () => {
    let status = 500;
    const endpoint = await endpointOf((_req, res) => res.writeHead(status).end());
    const named = async () => (await answersWhereOneFails(world.db.store)).map((row) => row.name);
    for (let i = 0; i < 5; i += 1) await ask(gateway.port, endpoint.path);
    await reports(endpoint, { answers: 5, errors: 5, failing: true });
    assert.deepEqual(await named(), [endpoint.name]);
    status = 200;
    await ask(gateway.port, endpoint.path);
    await reports(endpoint, { answers: 6, errors: 5, failing: false });
    assert.deepEqual(await named(), []);
  });
});
