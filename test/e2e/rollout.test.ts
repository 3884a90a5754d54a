import assert from 'node:assert/strict';
import { STUB_ENGINE } from '../agent/stub-engine.ts';
import { eventually } from '../support/eventually.ts';
import { IMAGE, Installation, needsInstallation } from '../support/installation.ts';

/** An update whose engine starts, is healthy, and answers what people ask with errors. */
describe('end to end: an update that is watched', function () {
  this.timeout(240_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    installation = await Installation.prepare();
    installation.env.ROLLOUT_BAKE_SECONDS = '600';
    await installation.up();
  });
  after(() => installation?.destroy());

  const path = (name: string) => `/v2/endpoint/${installation.connection.namespace}/${name}`;
  const update = async (name: string, body: object) => {
    const answer = await installation.api('PUT', path(name), body);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  };

  async function status(name: string): Promise<number> {
    const { gateway, namespace, token } = installation.connection;
    const response = await fetch(`${gateway}/${namespace}/${name}/anything`, {
      headers: { authorization: `Bearer ${token}` },
    });
    await response.text();
    return response.status;
  }

  /** Asks until told to stop; answers how many of the answers had which status. */
  function callers(name: string) {
    let stop = false;
    const seen = new Map<number, number>();
    const calling = (async () => {
      while (!stop) {
        const answer = await status(name);
        seen.set(answer, (seen.get(answer) ?? 0) + 1);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    return {
      seen,
      end: async () => {
        stop = true;
        await calling;
      },
    };
  }

  it('is rolled back with counts and log while the old revision serves on; a good one recovers', async () => {
    await installation.create('watched', {
      model: { framework: 'custom', command: STUB_ENGINE },
      image: { custom: { url: IMAGE, port: 8080, healthRoute: '/health' } },
    });
    await installation.until('watched', 'running');
    const [before] = await installation.containers('watched');
    const traffic = callers('watched');
    await eventually('traffic flows', () => (traffic.seen.get(200) ?? 0) > 20);

    await update('watched', { model: { env: { STUB_MODE: 'bad' } } });
    await eventually(
      'rolled back',
      async () => (await installation.get('watched')).status.state === 'updateFailed',
      { timeoutMs: 120_000 },
    );
    const failed = (await installation.get('watched')).status;
    assert.equal(failed.readyReplica >= 1, true);
    assert.match(failed.message, /rolled back/);
    assert.match(
      failed.errorMessage ?? '',
      /^ENGINE_ERRORS: revision 2 answered \d+ of \d+ requests with errors .*other replicas meanwhile 0 of \d+.*\n\nready/s,
    );
    await eventually('only the old one is left', async () => {
      const left = await installation.containers('watched');
      return left.length === 1 && left[0] === before;
    });
    const errors = traffic.seen.get(500) ?? 0;
    await eventually('good answers only', () => (traffic.seen.get(200) ?? 0) > 100);
    assert.equal(traffic.seen.get(500), errors, 'no error once it was rolled back');

    // The next good one, with a watch of its own that ends soon.
    await update('watched', {
      model: { env: {} },
      experimentalFeatures: { bake: { seconds: 600, requests: 20 } },
    });
    const { status: recovered } = await installation.until('watched', 'running', 120_000);
    assert.equal(recovered.errorMessage, null);
    const [after] = await installation.containers('watched');
    assert.notEqual(after, before);
    await traffic.end();
    assert.deepEqual([...traffic.seen.keys()].sort(), [200, 500]);
    await installation.remove('watched');
  });
});
