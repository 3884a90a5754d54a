import assert from 'node:assert/strict';
import { bakeActivity } from '../../activities/control/bake.ts';
import type { ControlDeps } from '../../activities/control/deps.ts';
import type { Failure } from '../../spec/errors.ts';
import { activityEnvironment } from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';
import { ask } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, seesRoutes, type TestEndpoint, type World } from './world.ts';

/** What the endpoint's workflow asks of a new revision, with real gateways, a real store and real answers. */
describe('gateway: a new revision is judged by its answers', () => {
  let world: World;
  let gateways: RunningGateway[];
  const upstreams: Upstream[] = [];
  before(async () => {
    world = await createWorld();
    gateways = [await world.startGateway(), await world.startGateway()];
  });
  after(async () => {
    await world.close();
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });

  /** An endpoint with a replica of revision 1 and one of revision 2, which answer with these statuses. */
  async function endpointOf(first: number, second: number): Promise<TestEndpoint> {
    const endpoint = await world.addEndpoint();
    for (const [i, status] of [first, second].entries()) {
      const upstream = await startUpstream((_req, res) => res.writeHead(status).end('{}'));
      upstreams.push(upstream);
      const id = await world.addReplica(endpoint, upstream.address);
      await world.db.store
        .updateTable('replicas')
        .set({ revision: i + 1 })
        .where('id', '=', id)
        .execute();
    }
    for (const gateway of gateways) await seesRoutes(world, gateway);
    return endpoint;
  }

  async function watch(endpoint: TestEndpoint, bake: { seconds: number; requests: number }) {
    const { watchBake } = bakeActivity({ store: world.db.store } as ControlDeps);
    let over = false;
    const environment = activityEnvironment();
    const input = { endpointId: endpoint.id, revision: 2, bake: { ...bake, maxErrorPercent: 5 } };
    const watching: Promise<Failure | null> = environment.run(watchBake, { ...input, sinceMs: Date.now() });
    void watching.finally(() => {
      over = true;
    });
    await eventually(
      'a verdict',
      async () => {
        for (const { port } of gateways) await ask(port, endpoint.path);
        return over;
      },
      { timeoutMs: 30_000, everyMs: 20 },
    );
    return await watching;
  }

  it('bad: with the counts of both, from all gateways', async () => {
    const failure = await watch(await endpointOf(200, 500), { seconds: 600, requests: 10_000 });
    assert.equal(failure?.code, 'ENGINE_ERRORS');
    const [, errors, answers] = /revision 2 answered (\d+) of (\d+) requests with errors/.exec(
      failure?.message ?? '',
    ) ?? [''];
    assert.ok(Number(errors) >= 3 && errors === answers, failure?.message);
    assert.match(failure?.message ?? '', /other replicas meanwhile 0 of \d+/);
  });

  it('good: after enough answers', async () => {
    assert.equal(await watch(await endpointOf(200, 200), { seconds: 600, requests: 40 }), null);
  });

  it('good: when the old revision fails alike', async () => {
    assert.equal(await watch(await endpointOf(500, 500), { seconds: 4, requests: 10_000 }), null);
  });
});
