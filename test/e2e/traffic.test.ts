import assert from 'node:assert/strict';
import { Client, Connection } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { endpointWorkflowId } from '../../spec/names.ts';
import { eventually } from '../support/eventually.ts';
import { docker, FILE, IMAGE, Installation, needsInstallation } from '../support/installation.ts';

/** Changes to an endpoint while people use it: not one request may be lost. */
describe('end to end: under traffic', function () {
  this.timeout(240_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    installation = await (await Installation.prepare()).up();
  });
  after(() => installation?.destroy());

  /** Four callers that ask one question after the other until told to stop; answers what went wrong. */
  function callers(name: string) {
    let stop = false;
    let answered = 0;
    const failures: string[] = [];
    const calling = Array.from({ length: 4 }, async () => {
      while (!stop) {
        await installation.chat(name).then(
          () => {
            answered += 1;
          },
          (error: unknown) => failures.push(String(error)),
        );
      }
    });
    return {
      answered: () => answered,
      end: async () => {
        stop = true;
        await Promise.all(calling);
        assert.ok(answered > 0);
        assert.deepEqual(failures, []);
      },
    };
  }

  const image = (ctxSize: number) => ({
    llamacpp: { url: IMAGE, ctxSize, nParallel: 2, threadsHttp: 4, modelPath: FILE },
  });
  const put = (name: string, body: object) =>
    installation.api('PUT', `/v2/endpoint/${installation.connection.namespace}/${name}`, body);

  it('a new revision takes over', async () => {
    await installation.create('rolling');
    await installation.until('rolling', 'running');
    const [before] = await installation.containers('rolling');
    const traffic = callers('rolling');
    await eventually('traffic flows', () => traffic.answered() > 4);
    assert.equal((await put('rolling', { model: { image: image(2048) } })).status, 200);
    await eventually(
      'one container, another one',
      async () => {
        const now = await installation.containers('rolling');
        return now.length === 1 && now[0] !== before;
      },
      { timeoutMs: 90_000 },
    );
    const { status } = await installation.until('rolling', 'running');
    assert.equal(status.readyReplica, 1);
    await traffic.end();
    await installation.remove('rolling');
  });

  it('a revision that cannot start leaves the old one serving, and the next good one takes over', async () => {
    await installation.create('kept');
    await installation.until('kept', 'running');
    const traffic = callers('kept');
    await put('kept', { model: { args: ['--no-such-flag'] } });
    await eventually(
      'updateFailed',
      async () => (await installation.get('kept')).status.state === 'updateFailed',
      { timeoutMs: 90_000, everyMs: 200 },
    );
    const { status } = await installation.get('kept');
    assert.match(status.errorMessage ?? '', /no-such-flag/);
    assert.equal(status.readyReplica, 1);
    await put('kept', { model: { args: [] } });
    await installation.until('kept', 'running', 90_000);
    await traffic.end();
    await installation.remove('kept');
  });

  it('the only replica is killed: its requests are held and answered by the next', async () => {
    await installation.create('killed');
    await installation.until('killed', 'running');
    const [container] = await installation.containers('killed');
    const traffic = callers('killed');
    await eventually('traffic flows', () => traffic.answered() > 4);
    docker('kill', '--signal', 'KILL', container ?? '');
    const before = traffic.answered();
    await eventually('answers go on', () => traffic.answered() > before + 8, { timeoutMs: 60_000 });
    await traffic.end();
    const [now] = await installation.containers('killed');
    assert.notEqual(now, container);
    await installation.remove('killed');
  });

  it('fifty at once to a sleeping endpoint: all answered, after one wake, by as many replicas as the policy asked for', async () => {
    const name = 'burst';
    const path = `/v2/endpoint/${installation.connection.namespace}/${name}`;
    await installation.create(name, { scaling: { minReplica: 0, maxReplica: 2, scaleToZeroTimeout: 15 } });
    await installation.until(name, 'running');
    assert.equal((await installation.api('POST', `${path}/scale-to-zero`)).status, 200);
    await eventually(
      'it sleeps',
      async () =>
        (await installation.get(name)).status.state === 'scaledToZero' &&
        (await installation.containers(name)).length === 0,
      { timeoutMs: 60_000 },
    );
    const { events: asleep, started: before } = await pastOf(name);

    // Each throws unless its status is 200.
    const answers = await Promise.all(Array.from({ length: 50 }, () => installation.chat(name)));
    assert.equal(answers.filter((answer) => answer.length > 0).length, 50);

    await eventually(
      'every replica that was asked for has started, and no other',
      async () => {
        const { events, started } = await pastOf(name);
        const said = events.slice(asleep.length);
        const asked = said.flatMap(({ signal, replicas }) => (signal === 'scaleTo' ? replicas : []));
        assert.ok(said.filter(({ signal }) => signal === 'wake').length >= 1);
        assert.equal(started - before, Math.min(2, Math.max(1, ...asked)));
        assert.equal((await installation.get(name)).status.readyReplica, started - before);
        return true;
      },
      { timeoutMs: 60_000, everyMs: 500 },
    );
    assert.equal((await installation.get(name)).status.errorMessage, null);
    await installation.remove(name);
  });

  /** What an endpoint's workflow was told (the replicas of a `scaleTo` too), and how many replicas it has ever started. */
  async function pastOf(name: string) {
    const { temporal, namespace } = installation.connection;
    const connection = await Connection.connect({ address: temporal });
    try {
      const handle = new Client({ connection }).workflow.getHandle(endpointWorkflowId(namespace, name));
      const { events: history } = await handle.fetchHistory();
      const events = (history ?? []).map((event) => {
        const { signalName: signal, input } = event.workflowExecutionSignaledEventAttributes ?? {};
        const [data] = input?.payloads ?? [];
        const told: unknown = data ? defaultPayloadConverter.fromPayload(data) : null;
        return { signal, replicas: (told as { replicas?: number } | null)?.replicas ?? [] };
      });
      const started = (history ?? []).filter(
        (event) => event.startChildWorkflowExecutionInitiatedEventAttributes,
      ).length;
      return { events, started };
    } finally {
      await connection.close();
    }
  }
});
