import assert from 'node:assert/strict';
import { FILE, Installation, MODEL, needsInstallation } from '../support/installation.ts';

/** Requests that leave everything out that can be left out, through the whole system. */
describe('end to end: what is left out is chosen', function () {
  this.timeout(180_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    installation = await Installation.prepare();
    await installation.up();
  });
  after(() => installation?.destroy());

  const url = () => `/v2/endpoint/${installation.connection.namespace}`;

  it('a name and a repository end in a chat answer', async () => {
    const { status, body } = await installation.api('POST', url(), {
      name: 'bare',
      model: { repository: MODEL },
    });
    assert.equal(status, 200, JSON.stringify(body));
    const made = await installation.until('bare', 'running');
    assert.equal(made.compute.instanceSize, 'x1');
    assert.equal(made.model.task, 'text-generation');
    const { llamacpp } = made.model.image as { llamacpp: { modelPath: string; ctxSize: number } };
    assert.equal(llamacpp.modelPath, FILE);
    assert.ok(llamacpp.ctxSize >= 4096, String(llamacpp.ctxSize));
    assert.ok((await installation.chat('bare')).length > 0);
    await installation.remove('bare');
  });

  it('a dry run plans it, with the model read from its header, and starts nothing', async () => {
    const request = { name: 'planned', model: { repository: MODEL } };
    const { status, body } = await installation.api('POST', `${url()}?dryRun=true`, request);
    assert.equal(status, 200, JSON.stringify(body));
    const plan = body as {
      modelFacts: { architecture: string; chatTemplate: boolean; contextLength: number };
      fit: { fits: boolean; weightsBytes: number };
      placement: { roomForReplicas: number };
    };
    assert.equal(plan.modelFacts.architecture, 'llama');
    assert.equal(plan.modelFacts.chatTemplate, true);
    assert.ok(plan.modelFacts.contextLength >= 2048);
    assert.equal(plan.fit.fits, true);
    assert.equal(plan.fit.weightsBytes, 98_362_432);
    assert.ok(plan.placement.roomForReplicas >= 1);
    assert.deepEqual(await installation.containers('planned'), []);
    assert.equal((await installation.api('GET', `${url()}/planned`)).status, 404);
  });
});
