import assert from 'node:assert/strict';
import { createHub } from '../../hub/client.ts';
import { LLAMA_8B } from '../engines/fixtures/facts.ts';
import * as models from '../engines/fixtures/models.ts';
import { type Contents, onFiles, type TestHub, testHub } from '../hub/fixture.ts';
import { gguf, safetensors } from '../hub/headers.ts';
import { type TestApi, testApi } from './support.ts';

const CPU = { accelerator: 'cpu', instanceType: 'cpu', instanceSize: 'x1' };
const DOCKER = { vendor: 'docker', region: 'local' };
const GCP = { vendor: 'gcp', region: 'us-central1' };
const L4 = { accelerator: 'gpu', instanceType: 'nvidia-l4', instanceSize: 'x1' };

/** A Llama of so many billions of parameters, of which there is a header and nothing else. */
const llama = (fixture: models.ModelFixture): Contents => ({
  'config.json': JSON.stringify({
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    ...fixture.config,
  }),
  'tokenizer.json': '{}',
  'model.safetensors': safetensors({ w: ['BF16', Math.round(fixture.billions * 1000), 1_000_000] }),
});

describe('api: what a request leaves open', function () {
  this.timeout(60_000);
  let hub: TestHub;
  let api: TestApi;

  before(async () => {
    hub = await testHub({
      'acme/tiny-gguf': {
        files: {
          'tiny-Q4_K_M.gguf': gguf({ ...LLAMA_8B, 'llama.block_count': 2, 'llama.context_length': 4096 }),
          'tiny-Q8_0.gguf': gguf({ ...LLAMA_8B, 'llama.block_count': 2 }),
        },
      },
      'acme/llama-8b': {
        files: llama(models.LLAMA31_8B),
        settings: { pipeline_tag: 'text-generation', license: 'llama3.1' },
      },
      'acme/llama-405b': { files: llama(models.LLAMA31_405B), settings: { pipeline_tag: 'text-generation' } },
      'acme/gated': { files: llama(models.LLAMA31_8B), settings: { gated: true } },
      'acme/pointer': {
        files: {
          ...llama(models.LLAMA31_8B),
          'model.safetensors': 'version https://git-lfs.github.com/spec/v1\n',
        },
      },
      'acme/unread': { files: { 'tiny-Q4_K_M.gguf': gguf(LLAMA_8B) } },
      'acme/words': { files: { 'README.md': '# Words' } },
    });
    api = await testApi({ hub: createHub({ endpoint: hub.url, timeoutMs: 2000, retries: 0 }) });
  });
  after(async () => {
    await api?.close();
    await hub?.close();
  });
  afterEach(() => {
    hub.fault = null;
  });

  const create = (body: object, query = '') => api.call('POST', `/v2/endpoint/alice${query}`, body);
  const stored = async () => (await api.call('GET', '/v2/endpoint/alice')).body.items.length;
  const given = (name: string, repository: string, rest: object = {}) => ({
    name,
    provider: DOCKER,
    compute: CPU,
    model: { repository, ...rest },
  });

  it('a name and a repository are enough, and the answer shows what was chosen', async () => {
    const { status, body } = await create({ name: 'bare', model: { repository: 'acme/tiny-gguf' } });
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.type, 'authenticated');
    assert.deepEqual(body.provider, DOCKER);
    const { id, scaling, ...compute } = body.compute;
    assert.equal(id, 'docker-local-cpu-x1');
    assert.deepEqual(compute, CPU);
    assert.deepEqual([scaling.minReplica, scaling.maxReplica], [1, 1]);
    assert.equal(body.model.framework, 'llamacpp');
    assert.equal(body.model.task, 'text-generation');
    assert.deepEqual(body.model.image, {
      llamacpp: {
        url: 'ghcr.io/ggml-org/llama.cpp:server',
        modelPath: 'tiny-Q4_K_M.gguf',
        ctxSize: 8192,
        nParallel: 2,
        threadsHttp: 4,
      },
    });
    assert.deepEqual((await api.call('GET', '/v2/endpoint/alice/bare')).body.model, body.model);
  });

  for (const [what, model] of [
    ['the framework', { framework: 'llamacpp', image: { huggingface: {} } }],
    [
      'the engine',
      { framework: 'custom', image: { llamacpp: { url: 'ghcr.io/ggml-org/llama.cpp:server' } } },
    ],
    ['neither, and no image', { framework: 'custom', image: { huggingface: {} } }],
  ] as const)
    it(`the hf command may name ${what}`, async () => {
      const name = `hf-${what.replaceAll(/\W+/g, '-')}`;
      const { status, body } = await create(given(name, 'acme/tiny-gguf', model));
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(body.model.image.llamacpp.modelPath, 'tiny-Q4_K_M.gguf');
      assert.equal(body.model.image.llamacpp.ctxSize, 8192);
    });

  it('refuses a model that is too big, with the arithmetic and what would do, and stores nothing', async () => {
    const before = await stored();
    const big = await create(
      { ...given('big', 'acme/llama-8b'), provider: GCP, compute: { ...L4, instanceType: 'nvidia-t4' } },
      '?dryRun=true',
    );
    assert.equal(big.status, 400);
    assert.equal(big.body.code, 'DOES_NOT_FIT');
    assert.match(
      big.body.error,
      /compute\.instanceSize: 'acme\/llama-8b' does not fit on nvidia-t4 x1: 14\.96 GiB weights .* of 13\.43 GiB usable.*smallest that would do is nvidia-l4 x1 of gcp/,
    );
    const nowhere = await create({ name: 'huge', model: { repository: 'acme/llama-405b' } });
    assert.equal(nowhere.status, 400);
    assert.match(
      nowhere.body.error,
      /the smallest that would do is nvidia-\S+ x8 of gcp .*for planning only here/,
    );
    assert.equal(await stored(), before);
  });

  it('takes what its owner insists on, and says what the arithmetic says', async () => {
    const body = {
      ...given('insist', 'acme/llama-8b', { image: { vLLM: { url: 'vllm/vllm-openai-cpu:v0.27.1' } } }),
      experimentalFeatures: { fitCheck: false },
    };
    const made = await create(body);
    assert.equal(made.status, 200, JSON.stringify(made.body));
    assert.match(
      String(made.headers['x-hf-warning']),
      /^model; the arithmetic says that it does not fit: 14\.96 GiB/,
    );
    // The next update is not refused either.
    const put = await api.call('PUT', '/v2/endpoint/alice/insist', { model: { env: { A: '1' } } });
    assert.equal(put.status, 200, JSON.stringify(put.body));
  });

  it("says which of its owner's variables give way to the platform's", async () => {
    const model = {
      repository: 'acme/llama-8b',
      image: { tgi: { url: 'ghcr.io/huggingface/text-generation-inference:3.3.5' } },
      env: { MODEL_ID: '/repository', PORT: '9000', OTHER: '1' },
      secrets: { API_KEY: 'mine' },
    };
    const { status, body } = await create({ name: 'gives-way', model }, '?dryRun=true');
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(
      body.warnings.map((text: string) => text.split(':')[0]),
      ['model.env.PORT is left out', 'model.secrets.API_KEY is left out'],
    );
  });

  const refused: [string, object, code: string, RegExp][] = [
    [
      'a repository that is not there',
      { repository: 'acme/none' },
      'HUB_NOT_FOUND',
      /^model\.repository: .*acme\/none/,
    ],
    ['a gated one without access', { repository: 'acme/gated' }, 'HUB_GATED', /^model\.repository: .*gated/],
    [
      'one without a model',
      { repository: 'acme/words' },
      'VALIDATION_FAILED',
      /^model\.repository: no engine runs 'acme\/words'/,
    ],
    [
      'one of Git LFS pointers',
      { repository: 'acme/pointer' },
      'NO_USABLE_FILE',
      /'model\.safetensors' .* is a Git LFS pointer/,
    ],
    [
      'GGUF on vLLM',
      { repository: 'acme/tiny-gguf', image: { vLLM: {} } },
      'NO_USABLE_FILE',
      /holds GGUF files .*use model\.image\.llamacpp/,
    ],
    [
      'TEI on a generating model',
      { repository: 'acme/llama-8b', image: { tei: {} } },
      'VALIDATION_FAILED',
      /^model\.task: TEI embeds/,
    ],
    [
      'llama.cpp without GGUF',
      { repository: 'acme/llama-8b', framework: 'llamacpp' },
      'VALIDATION_FAILED',
      /has no GGUF file/,
    ],
    [
      "a context beyond the model's",
      { repository: 'acme/tiny-gguf', image: { llamacpp: { ctxSize: 10_000, nParallel: 1 } } },
      'VALIDATION_FAILED',
      /^model\.image\.llamacpp\.ctxSize: a context of 10000 .* 4096/,
    ],
    [
      'a file that is not there',
      { repository: 'acme/tiny-gguf', image: { llamacpp: { modelPath: 'x.gguf' } } },
      'NO_USABLE_FILE',
      /no file 'x\.gguf'/,
    ],
  ];
  for (const [what, model, code, message] of refused)
    it(`refuses ${what}`, async () => {
      const { status, body } = await create({ name: 'refused', model });
      assert.equal(status, 400, JSON.stringify(body));
      assert.equal(body.code, code, body.error);
      assert.match(body.error, message);
    });

  describe('without the Hub', () => {
    const full = {
      image: {
        llamacpp: { url: 'l', modelPath: 'tiny-Q4_K_M.gguf', ctxSize: 512, nParallel: 1, threadsHttp: 2 },
      },
    };

    it('a request that says everything is taken, with a warning', async () => {
      hub.fault = () => ({ kind: 'status', status: 503 });
      const { status, body, headers } = await create(given('all-said', 'acme/tiny-gguf', full));
      assert.equal(status, 200, JSON.stringify(body));
      assert.match(
        String(headers['x-hf-warning']),
        /^model; the Hub was not asked .*answered 503.*: it is asked again/,
      );
    });

    it('one that leaves something out is not, and is told what', async () => {
      hub.fault = () => ({ kind: 'status', status: 503 });
      const engine = await create(
        given('some-said', 'acme/tiny-gguf', {
          image: { llamacpp: { url: 'l', modelPath: 'm', ctxSize: 1 } },
        }),
      );
      assert.deepEqual([engine.status, engine.body.code], [503, 'HUB_UNREACHABLE']);
      assert.match(
        engine.body.error,
        /model\.image\.llamacpp\.nParallel, model\.image\.llamacpp\.threadsHttp cannot be chosen/,
      );
      const hardware = await create({ name: 'some-said', model: { repository: 'acme/tiny-gguf', ...full } });
      assert.deepEqual([hardware.status, hardware.body.code], [503, 'HUB_UNREACHABLE']);
      assert.match(hardware.body.error, /the instance cannot be chosen/);
    });

    it('when only the headers do not come, what can be known without them is', async () => {
      hub.fault = onFiles(() => ({ kind: 'status', status: 503 }));
      const { status, body, headers } = await create({
        name: 'no-headers',
        model: { repository: 'acme/unread' },
      });
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(body.model.image.llamacpp.modelPath, 'tiny-Q4_K_M.gguf');
      assert.match(String(headers['x-hf-warning']), /size of 'acme\/unread' is not known/);
    });
  });

  describe('a dry run', () => {
    it('answers with the plan for hardware that nothing brings here, and changes nothing', async () => {
      const before = await stored();
      const { status, body } = await create(
        {
          name: 'planned',
          provider: GCP,
          compute: { ...L4, instanceSize: 'x2', scaling: { minReplica: 0, maxReplica: 3 } },
          model: {
            repository: 'acme/llama-8b',
            env: { COLOUR: 'blue-value' },
            secrets: { KEY: 's3cret-value' },
            args: ['--seed', '7'],
          },
        },
        '?dryRun=true',
      );
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(body.dryRun, true);
      assert.equal(body.engine.variant, 'vLLM');
      assert.match(body.engine.reason, /generates text \(LlamaForCausalLM\)/);
      assert.deepEqual(body.model.image.vLLM, {
        url: 'vllm/vllm-openai:v0.27.1',
        tensorParallelSize: 1,
        dataParallelSize: 2,
      });
      const { container } = body;
      assert.equal(container.image, 'vllm/vllm-openai:v0.27.1');
      assert.deepEqual(container.args.slice(0, 4), [
        '--model',
        '/repository',
        '--served-model-name',
        'acme/llama-8b',
      ]);
      assert.deepEqual(container.args.slice(-4), ['--max-model-len', '32768', '--seed', '7']);
      assert.deepEqual(container.env, ['COLOUR']);
      assert.deepEqual(container.secrets, ['KEY', 'VLLM_API_KEY']);
      assert.doesNotMatch(JSON.stringify(body), /blue-value|s3cret-value/);
      assert.match(container.mounts[0].source, /^acme\/llama-8b@[0-9a-f]{40}$/);
      assert.deepEqual(container.devices, [{ kind: 'gpu', count: 2 }]);
      assert.deepEqual(
        [
          body.modelFacts.architecture,
          body.modelFacts.licence,
          body.modelFacts.contextLength,
          body.modelFacts.parameters,
        ],
        ['LlamaForCausalLM', 'llama3.1', 131_072, 8.03e9],
      );
      assert.equal(body.fit.fits, true);
      assert.equal(body.fit.weightsBytes, 16.06e9);
      assert.equal(body.fit.context, 32_768);
      assert.match(body.fit.message, /14\.96 GiB weights/);
      assert.equal(body.placement.machineType, 'g2-standard-24');
      assert.match(body.placement.missing, /no provider 'gcp'/);
      assert.equal(body.placement.roomForReplicas, null);
      assert.deepEqual(body.price, { currency: 'USD', replicaHour: 2.0008, minHour: 0, maxHour: 6.0024 });
      assert.equal(await stored(), before);
      assert.equal((await api.call('GET', '/v2/endpoint/alice/planned')).status, 404);
    });

    it('plans with listed machines where nothing here is large enough', async () => {
      const { status, body } = await create(
        { name: 'planned', model: { repository: 'acme/llama-405b' } },
        '?dryRun=true',
      );
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(body.placement.vendor, 'gcp');
      assert.match(body.placement.missing, /planning only/);
    });

    it('is refused like the real thing', async () => {
      const answer = await create({ name: 'bare', model: { repository: 'acme/tiny-gguf' } }, '?dryRun=true');
      assert.equal(answer.status, 409);
      const wrong = await create({ name: 'planned', model: { repository: 'acme/none' } }, '?dryRun=true');
      assert.equal(wrong.body.code, 'HUB_NOT_FOUND');
      assert.equal((await create({ name: 'x', model: { repository: 'a/b' } }, '?dryRun=maybe')).status, 400);
    });

    it('of an update tells the changes, and whether containers are replaced', async () => {
      await create({ name: 'change', model: { repository: 'acme/tiny-gguf' } });
      const url = '/v2/endpoint/alice/change?dryRun=true';
      const bigger = await api.call('PUT', url, {
        compute: { instanceSize: 'x2' },
        model: { env: { A: '1' } },
      });
      assert.equal(bigger.status, 200, JSON.stringify(bigger.body));
      assert.equal(bigger.body.newContainers, true);
      assert.deepEqual(
        bigger.body.changes.map((change: { path: string }) => change.path),
        ['compute.instanceSize', 'model.env.A'],
      );
      assert.equal(bigger.body.price.replicaHour, 0.067);
      const scaled = await api.call('PUT', url, { compute: { scaling: { maxReplica: 4 } } });
      assert.equal(scaled.body.newContainers, false);
      assert.equal(scaled.body.price.maxHour, 0.132);
      assert.equal(scaled.body.container.image, 'ghcr.io/ggml-org/llama.cpp:server');
      const { body } = await api.call('GET', '/v2/endpoint/alice/change');
      assert.equal(body.compute.instanceSize, 'x1');
      assert.equal(body.compute.scaling.maxReplica, 1);
    });
  });

  describe('an update', () => {
    it('may leave settings of its image out', async () => {
      await create({ name: 'partial', model: { repository: 'acme/tiny-gguf' } });
      const put = await api.call('PUT', '/v2/endpoint/alice/partial', {
        model: { image: { llamacpp: { modelPath: 'tiny-Q8_0.gguf', nParallel: 3 } } },
      });
      assert.equal(put.status, 200, JSON.stringify(put.body));
      const { modelPath, nParallel, threadsHttp } = put.body.model.image.llamacpp;
      assert.deepEqual([modelPath, nParallel, threadsHttp], ['tiny-Q8_0.gguf', 3, 5]);
    });

    it('to a model that does not fit is refused, and nothing changes', async () => {
      const { body: before } = await api.call('GET', '/v2/endpoint/alice/bare');
      const image = { vLLM: { url: 'vllm/vllm-openai-cpu:v0.27.1' } };
      const put = await api.call('PUT', '/v2/endpoint/alice/bare', {
        model: { repository: 'acme/llama-8b', framework: 'custom', image },
      });
      assert.equal(put.status, 400);
      assert.equal(put.body.code, 'DOES_NOT_FIT', put.body.error);
      assert.deepEqual((await api.call('GET', '/v2/endpoint/alice/bare')).body, before);
    });
  });

  describe('a recommendation', () => {
    it('names engine, hardware and settings, and others with their reasons', async () => {
      const { status, body } = await api.call('POST', '/v2/recommend/alice', {
        model: { repository: 'acme/llama-8b' },
        provider: { vendor: 'gcp' },
      });
      assert.equal(status, 200, JSON.stringify(body));
      const { recommended, alternatives } = body;
      assert.equal(body.model.task, 'text-generation');
      assert.equal(recommended.engine.variant, 'vLLM');
      assert.deepEqual(recommended.compute, L4);
      assert.deepEqual(recommended.model.args, ['--max-model-len', '32768']);
      assert.equal(recommended.fit.fits, true);
      const others = alternatives.map(
        ({ engine, compute }: { engine: { variant: string }; compute: { instanceType: string } }) =>
          `${engine.variant} ${compute.instanceType}`,
      );
      assert.ok(
        others.some((one: string) => one.startsWith('vLLM nvidia-') && !one.endsWith('-l4')),
        others,
      );
      for (const { reason, fit } of alternatives) {
        assert.ok(reason.length > 10);
        assert.ok(fit.fits);
      }
      assert.ok(body.unsuited.some(({ variant }: { variant: string }) => variant === 'llamacpp'));
    });

    it('can be sent as a create request', async () => {
      const { body } = await api.call('POST', '/v2/recommend/alice', {
        model: { repository: 'acme/tiny-gguf' },
      });
      const { provider, compute, model } = body.recommended;
      const { status, body: made } = await create({ name: 'recommended', provider, compute, model });
      assert.equal(status, 200, JSON.stringify(made));
      assert.deepEqual(made.model.image, model.image);
    });

    it('needs a member of the namespace and a repository', async () => {
      assert.equal(
        (await api.call('POST', '/v2/recommend/bob', { model: { repository: 'acme/llama-8b' } })).status,
        403,
      );
      assert.equal((await api.call('POST', '/v2/recommend/alice', { model: {} })).status, 400);
      assert.equal(
        (await api.call('POST', '/v2/recommend/alice', { model: { repository: 'acme/none' } })).body.code,
        'HUB_NOT_FOUND',
      );
    });
  });
});
