import assert from 'node:assert/strict';
import { eventually } from '../support/eventually.ts';
import { docker, Installation, needsInstallation } from '../support/installation.ts';

/** Room for two replicas of the sample's instance (2 GiB each). */
const HOST_BYTES = 4.5 * 1024 ** 3;
const PATIENCE = { timeoutMs: 90_000, everyMs: 200 };

/** What sleeping endpoints keep, with real engines that are really frozen, and what may happen to it meanwhile. */
describe('end to end: standby', function () {
  this.timeout(240_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    installation = await Installation.prepare();
    installation.env.AGENT_MEMORY_BYTES = String(HOST_BYTES);
    await installation.up();
  });
  after(() => installation?.destroy());
  afterEach(async () => {
    if (!installation) return;
    for (const { name } of await installation.query('SELECT name FROM endpoints'))
      await installation.remove(String(name));
    await eventually('nothing is held', async () =>
      Object.values(await installation.holdings()).every((count) => count === 0),
    );
    assert.deepEqual(await installation.containers(), []);
  });

  const path = (name: string) => `/v2/endpoint/${installation.connection.namespace}/${name}`;
  const put = async (name: string, body: object) =>
    assert.equal((await installation.api('PUT', path(name), body)).status, 200);
  const state = (id: string) => docker('inspect', '--format', '{{.State.Status}}', id)[0];
  const only = async (name: string): Promise<string> => {
    const [id, ...others] = await installation.containers(name);
    assert.deepEqual(others, []);
    return id ?? assert.fail(`${name} has no container`);
  };
  const stages = async (name: string) => {
    const rows = await installation.query(
      `SELECT r.stage FROM replicas r JOIN endpoints e ON e.id = r.endpoint_id
       WHERE e.name = $1 AND r.stopped_at IS NULL`,
      [name],
    );
    return rows.map((r) => r.stage);
  };

  async function serve(name: string, standby: 'stopped' | 'frozen'): Promise<string> {
    await installation.create(name, { scaling: { minReplica: 0, scaleToZeroTimeout: 60, standby } });
    await installation.until(name, 'running');
    return only(name);
  }

  async function sleep(name: string): Promise<void> {
    await eventually(
      'the wish is taken',
      async () => (await installation.api('POST', `${path(name)}/scale-to-zero`)).status === 200,
      PATIENCE,
    );
    await rests(name);
  }

  const rests = (name: string) =>
    eventually(`${name} is at rest`, async () => (await stages(name)).join() === 'standby', PATIENCE);
  /** Its client may meet an installation that is just being put together again. */
  const answers = (name: string) =>
    eventually(`${name} answers`, () => installation.chat(name), { timeoutMs: 120_000, everyMs: 500 });
  const gone = (name: string) =>
    eventually(
      'its container is gone',
      async () => (await installation.containers(name)).length === 0,
      PATIENCE,
    );

  for (const [standby, docked] of [
    ['frozen', 'paused'],
    ['stopped', 'exited'],
  ] as const)
    it(`${standby}: the same container serves after each sleep`, async () => {
      const id = await serve('again', standby);
      for (let cycle = 0; cycle < 2; cycle += 1) {
        await sleep('again');
        assert.equal(state(id), docked);
        const said = new RegExp(`its container is kept ${standby}`);
        await eventually(
          'said',
          async () => said.test((await installation.get('again')).status.message),
          PATIENCE,
        );
        assert.equal((await installation.get('again')).status.state, 'scaledToZero');
        await installation.chat('again');
        assert.equal(await only('again'), id);
        assert.equal((await installation.get('again')).status.errorMessage, null);
      }
    });

  it('an update takes the frozen container away and wakes the new revision', async () => {
    const id = await serve('updated', 'frozen');
    await sleep('updated');
    await put('updated', { model: { env: { LATER: 'yes' } } });
    await installation.chat('updated');
    await eventually(
      'one container',
      async () => (await installation.containers('updated')).length === 1,
      PATIENCE,
    );
    const now = await only('updated');
    assert.notEqual(now, id);
    assert.ok(docker('inspect', '--format', '{{.Config.Env}}', now)[0]?.includes('LATER=yes'));
  });

  it('a pause and a deletion take it away', async () => {
    await serve('paused', 'frozen');
    await sleep('paused');
    assert.equal((await installation.api('POST', `${path('paused')}/pause`)).status, 200);
    await gone('paused');
    await serve('deleted', 'frozen');
    await sleep('deleted');
    await installation.remove('deleted');
  });

  it('an endpoint that finds no room gets that of the one frozen longest', async () => {
    await serve('first', 'frozen');
    await sleep('first');
    const second = await serve('second', 'frozen');
    await sleep('second');
    await installation.create('third');
    await installation.until('third', 'running');
    assert.deepEqual(await installation.containers('first'), []);
    assert.equal(state(second), 'paused');
    await installation.chat('second');
    assert.equal(await only('second'), second);
    await sleep('second');
    await installation.chat('first');
    assert.deepEqual(await installation.containers('second'), [], 'now it was the other one');
  });

  it('a frozen container that is killed costs a cold start and nothing else', async () => {
    const id = await serve('killed', 'frozen');
    await sleep('killed');
    const [pid] = docker('inspect', '--format', '{{.State.Pid}}', id);
    process.kill(Number(pid), 'SIGKILL');
    await installation.chat('killed');
    assert.notEqual(await only('killed'), id);
    assert.equal((await installation.get('killed')).status.errorMessage, null);
  });

  it('the agent restarts while it sleeps: it wakes as ever', async () => {
    const id = await serve('agent', 'frozen');
    await sleep('agent');
    const pid = installation.pid('agent');
    installation.kill('agent');
    await eventually('a new agent', () => installation.pid('agent') !== pid, PATIENCE);
    assert.equal(state(id), 'paused');
    await answers('agent');
    assert.equal(await only('agent'), id);
  });

  for (const victim of ['worker', 'agent', 'temporal', 'postgres'] as const)
    it(`${victim} killed on the way to rest, and on the way back`, async () => {
      await serve('torn', 'frozen');
      assert.equal((await installation.api('POST', `${path('torn')}/scale-to-zero`)).status, 200);
      installation.kill(victim);
      await rests('torn');
      const waking = answers('torn');
      await eventually(
        'it wakes',
        async () => (await stages('torn').catch(() => []))[0] !== 'standby',
        PATIENCE,
      );
      installation.kill(victim);
      await waking;
      await installation.until('torn', 'running');
      assert.equal(state(await only('torn')), 'running');
    });
});
