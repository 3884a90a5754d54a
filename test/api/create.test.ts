import assert from 'node:assert/strict';
import { endpointWithStatus } from '../../spec/endpoint.ts';
import { COMMIT, createBody, GGUF, MODEL, type TestApi, testApi } from './support.ts';

describe('api: create', () => {
  let api: TestApi;
  before(async () => {
    api = await testApi();
  });
  after(() => api.close());

  const create = (body: unknown) => api.call('POST', '/v2/endpoint/alice', body);
  const rowCount = async () => {
    const counts = await Promise.all(
      (['endpoints', 'revisions', 'audit'] as const).map((table) =>
        api.store
          .selectFrom(table)
          .select((eb) => eb.fn.countAll<number>().as('count'))
          .executeTakeFirstOrThrow(),
      ),
    );
    return counts.map((row) => row.count);
  };

  it('stores an endpoint and shows it as the public API does', async () => {
    const { status, body } = await create(createBody('plain'));
    assert.equal(status, 200);
    assert.deepEqual(endpointWithStatus.parse(body), body);
    assert.equal(body.status.state, 'pending');
    assert.equal(body.status.message, 'Endpoint waiting to be scheduled');
    assert.equal(body.status.url, 'http://127.0.0.1:8090/alice/plain');
    assert.equal(body.healthRoute, '/health');
    assert.equal(body.compute.id, 'docker-local-cpu-x1');
    assert.match(body.status.createdAt, /T[\d:]+\.\d{3}Z$/);
    assert.equal(body.status.createdBy.name, 'alice');
    assert.equal(body.model.revision, null);
    assert.equal(body.model.task, 'text-generation');
  });

  it('pins the commit and the files the engine needs with the first revision', async () => {
    await create(createBody('pinned'));
    const { weights } = await api.store
      .selectFrom('revisions as r')
      .innerJoin('endpoints as e', 'e.id', 'r.endpoint_id')
      .select('r.weights')
      .where('e.name', '=', 'pinned')
      .executeTakeFirstOrThrow();
    assert.equal(weights?.repository, MODEL);
    assert.equal(weights?.commit, COMMIT);
    assert.ok(weights?.files.some((file) => file.path === GGUF));
  });

  it('tells the workflow after the write', async () => {
    await create(createBody('told'));
    assert.ok(api.notify.told.includes('alice/told'));
  });

  it('accepts an endpoint while Temporal is down', async () => {
    api.notify.down = true;
    const { status } = await create(createBody('no-temporal'));
    const read = await api.call('GET', '/v2/endpoint/alice/no-temporal');
    api.notify.down = false;
    assert.equal(status, 200);
    assert.equal(read.body.status.state, 'pending');
  });

  it('accepts an endpoint while the Hub is unreachable, and leaves the files to the workflow', async () => {
    const { status } = await create(createBody('no-hub', { model: { repository: 'example/unreachable' } }));
    assert.equal(status, 200);
    const row = await api.store
      .selectFrom('revisions as r')
      .innerJoin('endpoints as e', 'e.id', 'r.endpoint_id')
      .select('r.weights')
      .where('e.name', '=', 'no-hub')
      .executeTakeFirstOrThrow();
    assert.equal(row.weights, null);
  });

  it('takes what older and newer clients send: accountId, null settings, health_route, unknown keys', async () => {
    const image = { custom: { url: 'nginx', health_route: '/ok', port: 80, tensorParallelSize: 2 } };
    const { status, body } = await create(
      createBody('old-client', {
        top: { accountId: null, privateService: null, tags: null, route: null, somethingNew: 1 },
        model: { image, framework: 'custom', task: null },
      }),
    );
    assert.equal(status, 200);
    assert.equal(body.healthRoute, '/ok');
    assert.deepEqual(body.model.image, { custom: { url: 'nginx', port: 80, healthRoute: '/ok' } });
  });

  it('gives a custom container without a health route "/" to ask', async () => {
    const { body } = await create(
      createBody('no-route', { model: { image: { custom: { url: 'nginx' } }, framework: 'custom' } }),
    );
    assert.equal(body.healthRoute, '/');
  });

  it('keeps secrets and registry credentials out of every answer and every readable column', async () => {
    const image = {
      custom: { url: 'private/image', credentials: { username: 'joe', password: 'pa55word' } },
    };
    const { status, body } = await create(
      createBody('secretive', {
        model: { image, framework: 'custom', secrets: { API_KEY: 's3cret-value' } },
      }),
    );
    assert.equal(status, 200);
    assert.deepEqual(body.model.secrets, { API_KEY: '' });
    assert.deepEqual(body.model.image.custom.credentials, { username: '', password: null });
    const row = await api.store
      .selectFrom('endpoints')
      .selectAll()
      .where('name', '=', 'secretive')
      .executeTakeFirstOrThrow();
    assert.doesNotMatch(JSON.stringify([body, row.spec, String(row.secrets)]), /s3cret-value|pa55word|joe/);
    assert.deepEqual(api.vault.decrypt(row.secrets as Buffer, `endpoint:${row.id}`), {
      env: { API_KEY: 's3cret-value' },
      registry: { username: 'joe', password: 'pa55word' },
    });
    const revision = await api.store
      .selectFrom('revisions')
      .select('secrets')
      .where('endpoint_id', '=', row.id)
      .executeTakeFirstOrThrow();
    assert.ok(api.vault.decrypt(revision.secrets as Buffer, `revision:${row.id}:1`));
  });

  describe('scaling', () => {
    const scalingOf = async (name: string, scaling: Record<string, unknown>) => {
      const { status, body } = await create(createBody(name, { scaling }));
      assert.equal(status, 200, JSON.stringify(body));
      return body.compute.scaling;
    };

    it('takes the newer form', async () => {
      const scaling = await scalingOf('measure', { measure: { pendingRequests: 2.5 } });
      assert.deepEqual(scaling.measure, { pendingRequests: 2.5 });
    });

    it('takes the older form', async () => {
      const scaling = await scalingOf('metric', { metric: 'hardwareUsage', threshold: 70 });
      assert.deepEqual(scaling.measure, { hardwareUsage: 70 });
    });

    it('lets the newer form win and keeps a null threshold', async () => {
      const scaling = await scalingOf('both', {
        measure: { hardwareUsage: null },
        metric: 'pendingRequests',
        threshold: 3,
      });
      assert.deepEqual(scaling.measure, { hardwareUsage: null });
    });

    it('sleeps after 15 minutes when it may sleep and nobody says when', async () => {
      assert.equal((await scalingOf('sleepy', { minReplica: 0 })).scaleToZeroTimeout, 15);
      assert.equal(
        (await scalingOf('sleepier', { minReplica: 0, scaleToZeroTimeout: 60 })).scaleToZeroTimeout,
        60,
      );
    });
  });

  const LONG = 'a'.repeat(33);
  const bad: [what: string, field: string, value: string, body: (name: string) => unknown][] = [
    ['a name in upper case', 'name', 'Bad', () => createBody('Bad')],
    ['a name that ends in a hyphen', 'name', 'bad-', () => createBody('bad-')],
    ['a name over 32 characters', 'name', LONG, () => createBody(LONG)],
    ['no name', 'name', 'missing', (n) => createBody(n, { top: { name: undefined } })],
    ['a name that is a number', 'name', '7', (n) => createBody(n, { top: { name: 7 } })],
    ['the retired type', 'type', 'protected', (n) => createBody(n, { top: { type: 'protected' } })],
    ['no model', 'model', 'missing', (n) => createBody(n, { top: { model: undefined } })],
    [
      'no repository',
      'model.repository',
      'missing',
      (n) => createBody(n, { model: { repository: undefined } }),
    ],
    [
      'a repository that is a path',
      'model.repository',
      '../../etc',
      (n) => createBody(n, { model: { repository: '../../etc' } }),
    ],
    [
      'an unknown framework',
      'model.framework',
      'keras',
      (n) => createBody(n, { model: { framework: 'keras' } }),
    ],
    [
      'an unknown vendor',
      'provider.vendor',
      'aws',
      (n) => createBody(n, { top: { provider: { vendor: 'aws', region: 'local' } } }),
    ],
    [
      'an unknown region',
      'provider.region',
      'mars',
      (n) => createBody(n, { top: { provider: { vendor: 'docker', region: 'mars' } } }),
    ],
    [
      'an unknown instance type',
      'compute.instanceType',
      'nvidia-l4',
      (n) => createBody(n, { compute: { instanceType: 'nvidia-l4' } }),
    ],
    [
      'an unknown instance size',
      'compute.instanceSize',
      'x99',
      (n) => createBody(n, { compute: { instanceSize: 'x99' } }),
    ],
    [
      'an accelerator the instance has not',
      'compute.accelerator',
      'gpu',
      (n) => createBody(n, { compute: { accelerator: 'gpu' } }),
    ],
    [
      'more replicas at least than at most',
      'compute.scaling.minReplica',
      '3',
      (n) => createBody(n, { scaling: { minReplica: 3, maxReplica: 2 } }),
    ],
    [
      'no replica at most',
      'compute.scaling.maxReplica',
      '0',
      (n) => createBody(n, { scaling: { minReplica: 0, maxReplica: 0 } }),
    ],
    [
      'a negative bound',
      'compute.scaling.minReplica',
      '-1',
      (n) => createBody(n, { scaling: { minReplica: -1 } }),
    ],
    [
      'half a replica',
      'compute.scaling.maxReplica',
      '1.5',
      (n) => createBody(n, { scaling: { maxReplica: 1.5 } }),
    ],
    [
      'a bound as text',
      'compute.scaling.maxReplica',
      'two',
      (n) => createBody(n, { scaling: { maxReplica: 'two' } }),
    ],
    [
      'a sleep timeout where the endpoint may not sleep',
      'compute.scaling.scaleToZeroTimeout',
      '15',
      (n) => createBody(n, { scaling: { minReplica: 1, scaleToZeroTimeout: 15 } }),
    ],
    [
      'an unknown measure',
      'compute.scaling.measure',
      'latency',
      (n) => createBody(n, { scaling: { measure: { latency: 3 } } }),
    ],
    [
      'a measure below zero',
      'compute.scaling.measure.pendingRequests',
      '-2',
      (n) => createBody(n, { scaling: { measure: { pendingRequests: -2 } } }),
    ],
    [
      'an unknown metric',
      'compute.scaling.metric',
      'latency',
      (n) => createBody(n, { scaling: { metric: 'latency', threshold: 1 } }),
    ],
    [
      'a threshold without a metric',
      'compute.scaling.threshold',
      '7',
      (n) => createBody(n, { scaling: { threshold: 7 } }),
    ],
    [
      'a usage above 100 %',
      'compute.scaling.threshold',
      '120',
      (n) => createBody(n, { scaling: { metric: 'hardwareUsage', threshold: 120 } }),
    ],
    [
      'an unknown image variant',
      'model.image.hfServe',
      'hfServe',
      (n) => createBody(n, { model: { image: { hfServe: { url: 'x' } } } }),
    ],
    [
      'a GPU engine on a CPU instance',
      'model.image.vLLM.url',
      'needs a GPU',
      (n) => createBody(n, { model: { image: { vLLM: { url: 'vllm/vllm-openai:v0.23.0' } } } }),
    ],
    [
      'a model spread over GPUs that are not there',
      'model.image.vLLM.tensorParallelSize',
      'product must be 1',
      (n) =>
        createBody(n, { model: { image: { vLLM: { url: 'vllm/vllm-openai-cpu', tensorParallelSize: 2 } } } }),
    ],
    ['no image variant', 'model.image', 'one', (n) => createBody(n, { model: { image: {} } })],
    [
      'two image variants',
      'model.image',
      '2',
      (n) => createBody(n, { model: { image: { custom: { url: 'x' }, llamacpp: {} } } }),
    ],
    [
      'an image without url',
      'model.image.custom.url',
      'missing',
      (n) => createBody(n, { model: { image: { custom: { port: 80 } } } }),
    ],
    [
      'a port out of range',
      'model.image.custom.port',
      '70000',
      (n) => createBody(n, { model: { image: { custom: { url: 'x', port: 70_000 } } } }),
    ],
    [
      'half of the registry credentials',
      'model.image.custom.credentials',
      'username',
      (n) => createBody(n, { model: { image: { custom: { url: 'x', credentials: { username: 'joe' } } } } }),
    ],
    [
      'redacted credentials where none are stored',
      'model.image.custom.credentials',
      'none are stored',
      (n) =>
        createBody(n, {
          model: { image: { custom: { url: 'x', credentials: { username: '', password: null } } } },
        }),
    ],
    [
      'an environment variable that is none',
      'model.env',
      'A-B',
      (n) => createBody(n, { model: { env: { 'A-B': 'x' } } }),
    ],
    [
      'a name both in env and in secrets',
      'model.secrets',
      'TOKEN',
      (n) => createBody(n, { model: { env: { TOKEN: 'x' }, secrets: { TOKEN: 'y' } } }),
    ],
    [
      'a missing repository',
      'model.repository',
      'example/nowhere',
      (n) => createBody(n, { model: { repository: 'example/nowhere' } }),
    ],
    [
      'a gated repository',
      'model.repository',
      'example/gated',
      (n) => createBody(n, { model: { repository: 'example/gated' } }),
    ],
    ['a missing revision', 'model.revision', 'v9', (n) => createBody(n, { model: { revision: 'v9' } })],
    [
      'a repository without a usable file',
      'model.repository',
      GGUF,
      (n) => createBody(n, { model: { repository: 'example/empty' } }),
    ],
    ['a body that is a list', 'body', 'object', () => []],
    ['text with a NUL in it', 'tags.0', 'NUL', (n) => createBody(n, { top: { tags: ['a\0b'] } })],
  ];
  for (const [i, [what, field, value, body]] of bad.entries()) {
    it(`refuses ${what}, naming ${field}, and stores nothing`, async () => {
      const before = await rowCount();
      const answer = await create(body(`bad-${i}`));
      assert.equal(answer.status, 400, JSON.stringify(answer.body));
      assert.ok(answer.body.error.includes(field), answer.body.error);
      assert.ok(answer.body.error.includes(value), answer.body.error);
      assert.equal(answer.headers['x-error-message'], answer.body.error.replaceAll(/[^\x20-\x7e]/g, '?'));
      assert.ok(answer.headers['x-request-id']);
      assert.deepEqual(await rowCount(), before);
    });
  }

  it('never repeats a secret value in a refusal', async () => {
    const { status, body } = await create(
      createBody('leaky', { model: { secrets: { 'NOT-A-NAME': 's3cret-value' }, env: { X: 7 } } }),
    );
    assert.equal(status, 400);
    assert.doesNotMatch(JSON.stringify(body), /s3cret-value/);
  });

  it('refuses a name that is taken, and says so before it asks the Hub', async () => {
    await create(createBody('twice'));
    const again = await create(createBody('twice', { model: { repository: 'example/nowhere' } }));
    assert.equal(again.status, 409);
    assert.equal(again.body.code, 'CONFLICT');
    assert.match(again.body.error, /name: endpoint 'alice\/twice' already exists/);
  });

  it('refuses the name of an endpoint that is still being deleted, and says so', async () => {
    await create(createBody('leaving'));
    await api.call('DELETE', '/v2/endpoint/alice/leaving');
    const again = await create(createBody('leaving'));
    assert.equal(again.status, 409);
    assert.match(again.body.error, /still being deleted/);
  });

  it('gives one of 20 creates of the same name the endpoint, and the others a 409', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => create(createBody('race'))));
    const statuses = answers.map((answer) => answer.status).sort();
    assert.deepEqual(statuses, [200, ...Array<number>(19).fill(409)]);
  });
});
