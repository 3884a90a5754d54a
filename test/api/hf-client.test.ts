import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { skip } from '../support/needs.ts';
import { type PythonVenv, pythonVenv } from '../support/python.ts';
import { GGUF, MODEL, type TestApi, testApi } from './support.ts';

const SHIM = resolve(import.meta.dirname, '../../cli/hf');

/** What the library does when its constant is assigned, as a site that has no shim would. */
const SCRIPT = `
import json, sys
from huggingface_hub import HfApi, constants
base, token = sys.argv[1], sys.argv[2]
constants.INFERENCE_ENDPOINTS_ENDPOINT = base + "/v2"
api = HfApi(endpoint=base, token=token)
seen = []
def note(what, endpoint):
    seen.append([what, endpoint.name, endpoint.status, endpoint.url, endpoint.repository, endpoint.framework])
    assert endpoint.created_at.tzinfo is not None

image = {"llamacpp": {"url": "ghcr.io/ggml-org/llama.cpp:server", "ctxSize": 2048, "nParallel": 2,
         "threadsHttp": 4, "modelPath": "${GGUF}"}}
endpoint = api.create_inference_endpoint(
    "py", repository="${MODEL}", framework="llamacpp", accelerator="cpu", vendor="docker", region="local",
    instance_size="x1", instance_type="cpu", custom_image=image, min_replica=0, max_replica=2,
    scale_to_zero_timeout=30, env={"A": "1"}, secrets={"S": "s3cret"}, tags=["blue"], task="text-generation",
    type="private")
note("create", endpoint)
note("get", api.get_inference_endpoint("py"))
note("list", api.list_inference_endpoints()[0])
note("list *", api.list_inference_endpoints("*")[0])
note("update", endpoint.update(max_replica=4, instance_size="x2"))
assert endpoint.raw["compute"]["scaling"]["maxReplica"] == 4
note("update nothing", api.update_inference_endpoint("py"))
note("pause", endpoint.pause())
note("resume", endpoint.resume())
note("scale to zero", endpoint.scale_to_zero())
note("fetch", endpoint.fetch())
hardware = api.list_inference_endpoints_hardware()
assert hardware[0].id == "docker-local-cpu-x1", hardware
assert api.whoami()["name"] == "alice"
endpoint.delete()
try:
    api.get_inference_endpoint("py")
except Exception as error:
    seen.append(["gone", type(error).__name__, error.response.status_code, str(error)])
try:
    api.create_inference_endpoint(
        "bad", repository="example/nowhere", framework="llamacpp", accelerator="cpu", vendor="docker",
        region="local", instance_size="x1", instance_type="cpu", custom_image=image)
except Exception as error:
    seen.append(["refused", type(error).__name__, error.response.status_code, str(error)])
print(json.dumps(seen))
`;

describe('api: the real clients', function () {
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
    api = await testApi();
    base = await api.app.listen({ host: '127.0.0.1', port: 0 });
    dir = mkdtempSync(join(tmpdir(), 'hf-client-'));
  });
  after(async () => {
    await api?.close();
    if (dir) rmSync(dir, { recursive: true, force: true });
  });

  interface Ended {
    code: number;
    stdout: string;
    stderr: string;
  }
  const run = (file: string, args: string[], env: Record<string, string>) =>
    new Promise<Ended>((done) => {
      const clean = { PATH: process.env.PATH ?? '', HOME: dir, HF_HOME: dir, PYTHONDONTWRITEBYTECODE: '1' };
      execFile(file, args, { env: { ...clean, ...env } }, (error, stdout, stderr) => {
        done({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
      });
    });
  const hf = (...args: string[]) =>
    run(join(venv.bin, 'hf'), args, {
      PYTHONPATH: SHIM,
      ENDPOINTS_API_URL: base,
      HF_ENDPOINT: base,
      HF_TOKEN: api.token,
    });
  const hfOk = async (...args: string[]) => {
    const ended = await hf(...args);
    assert.equal(ended.code, 0, `hf ${args.join(' ')}\n${ended.stdout}\n${ended.stderr}`);
    return ended.stdout;
  };
  const setState = (name: string, state: 'running') =>
    api.store.updateTable('endpoints').set({ state }).where('name', '=', name).execute();

  it('the library: an endpoint through all its calls', async () => {
    const script = join(dir, 'client.py');
    writeFileSync(script, SCRIPT);
    const ended = await run(venv.python, [script, base, api.token], {
      HF_TOKEN: api.token,
      HF_ENDPOINT: base,
    });
    assert.equal(ended.code, 0, ended.stderr);
    const url = 'http://127.0.0.1:8090/alice/py';
    const rest = [MODEL, 'llamacpp'];
    const seen = JSON.parse(ended.stdout) as unknown[][];
    const errors = seen.splice(-2);
    assert.deepEqual(
      seen.map(([what, name, status, at, ...more]) => [what, name, status, at, ...more]),
      [
        ['create', 'py', 'pending', url, ...rest],
        ['get', 'py', 'pending', url, ...rest],
        ['list', 'py', 'pending', url, ...rest],
        ['list *', 'py', 'pending', url, ...rest],
        ['update', 'py', 'pending', url, ...rest],
        ['update nothing', 'py', 'pending', url, ...rest],
        ['pause', 'py', 'paused', null, ...rest],
        ['resume', 'py', 'pending', url, ...rest],
        ['scale to zero', 'py', 'scaledToZero', url, ...rest],
        ['fetch', 'py', 'scaledToZero', url, ...rest],
      ],
    );
    assert.deepEqual(errors[0]?.slice(0, 3), ['gone', 'HfHubHTTPError', 404]);
    assert.match(String(errors[0]?.[3]), /endpoint 'alice\/py' does not exist/);
    assert.deepEqual(errors[1]?.slice(0, 3), ['refused', 'BadRequestError', 400]);
    assert.match(String(errors[1]?.[3]), /model\.repository.*example\/nowhere/);
  });

  it('the command: deploy, list, describe, update, pause, resume, scale to zero, delete', async () => {
    const image = ['--custom-image', 'nginx:alpine', '--port', '80', '--health-route', '/ok'];
    const where = ['--accelerator', 'cpu', '--vendor', 'docker', '--region', 'local'];
    const instance = ['--instance-type', 'cpu', '--instance-size', 'x1'];
    const model = ['--repo', MODEL, '--framework', 'custom'];
    const secret = ['-s', 'TOKEN=s3cret', '-e', 'A=1'];
    const deployed = await hfOk(
      'endpoints',
      'deploy',
      'cli',
      ...model,
      ...where,
      ...instance,
      ...image,
      ...secret,
    );
    assert.doesNotMatch(deployed, /s3cret/);

    const list = JSON.parse(await hfOk('endpoints', 'ls', '--json'));
    assert.ok(JSON.stringify(list).includes('"cli"'));
    const described = await hfOk('endpoints', 'describe', 'cli', '--json');
    assert.equal(JSON.parse(described).healthRoute, '/ok');
    await hfOk('endpoints', 'update', 'cli', '--max-replica', '3', '--instance-size', 'x2');
    const updated = JSON.parse(await hfOk('endpoints', 'describe', 'cli', '--json'));
    assert.equal(updated.compute.scaling.maxReplica, 3);
    assert.equal(updated.compute.instanceSize, 'x2');
    assert.match(await hfOk('endpoints', 'pause', 'cli', '--json'), /"paused"/);
    assert.match(await hfOk('endpoints', 'resume', 'cli', '--json'), /"pending"/);
    await setState('cli', 'running');
    assert.match(await hfOk('endpoints', 'resume', 'cli', '--json'), /"running"/);
    const strict = await hf('endpoints', 'resume', 'cli', '--fail-if-already-running');
    assert.equal(strict.code, 400 % 256);
    assert.match(strict.stderr + strict.stdout, /already running/);
    assert.match(await hfOk('endpoints', 'scale-to-zero', 'cli', '--json'), /"scaledToZero"/);
    await hfOk('endpoints', 'delete', 'cli', '--yes');
    const gone = await hf('endpoints', 'describe', 'cli');
    assert.equal(gone.code, 404 % 256);
    assert.match(gone.stderr + gone.stdout, /endpoint 'alice\/cli' does not exist/);
  });

  it('the command: the engine alone is enough, by its framework or with its image', async () => {
    const where = ['--accelerator', 'cpu', '--vendor', 'docker', '--region', 'local'];
    const rest = ['--repo', MODEL, ...where, '--instance-type', 'cpu', '--instance-size', 'x1'];
    const url = 'ghcr.io/ggml-org/llama.cpp:server';
    for (const [name, engine] of [
      ['by-framework', ['--framework', 'llamacpp']],
      ['by-engine', ['--framework', 'custom', '--engine', 'llamacpp', '--custom-image', url]],
    ] as const) {
      await hfOk('endpoints', 'deploy', name, ...rest, ...engine);
      const { model } = JSON.parse(await hfOk('endpoints', 'describe', name, '--json'));
      assert.deepEqual(model.image, {
        llamacpp: { url, modelPath: GGUF, ctxSize: 16_384, nParallel: 2, threadsHttp: 4 },
      });
      await hfOk('endpoints', 'delete', name, '--yes');
    }
  });

  it('the command: hardware and who am I', async () => {
    assert.match(await hfOk('endpoints', 'hardware', '--all', '--json'), /docker/);
    assert.match(await hfOk('auth', 'whoami'), /alice/);
  });

  describe('the shim', () => {
    const constants = async (code: string, env: Record<string, string>) => {
      const ended = await run(venv.python, ['-c', code], { PYTHONPATH: SHIM, ...env });
      assert.equal(ended.code, 0, ended.stderr);
      return ended.stdout.trim();
    };

    it('moves both addresses, however they are imported, and nothing else', async () => {
      for (const code of [
        'from huggingface_hub.constants import INFERENCE_ENDPOINTS_ENDPOINT as e, INFERENCE_CATALOG_ENDPOINT as c, ENDPOINT as h',
        'import huggingface_hub.constants as k; e, c, h = k.INFERENCE_ENDPOINTS_ENDPOINT, k.INFERENCE_CATALOG_ENDPOINT, k.ENDPOINT',
      ])
        assert.equal(
          await constants(`${code}; print(e, c, h)`, { ENDPOINTS_API_URL: 'http://127.0.0.1:1/' }),
          'http://127.0.0.1:1/v2 http://127.0.0.1:1/api/v1/catalog https://huggingface.co',
        );
    });

    it('does nothing without ENDPOINTS_API_URL, and never loads the library by itself', async () => {
      assert.equal(
        await constants(
          'from huggingface_hub import constants as k; print(k.INFERENCE_ENDPOINTS_ENDPOINT)',
          {},
        ),
        'https://api.endpoints.huggingface.cloud/v2',
      );
      assert.equal(
        await constants('import sys; print("huggingface_hub" in sys.modules)', { ENDPOINTS_API_URL: base }),
        'False',
      );
    });

    it('runs the sitecustomize that it stands in front of', async () => {
      writeFileSync(join(dir, 'sitecustomize.py'), 'import os\nos.environ["SITE_RAN"] = "yes"\n');
      const seen = await constants('import os; print(os.environ.get("SITE_RAN"))', {
        PYTHONPATH: `${SHIM}:${dir}`,
        ENDPOINTS_API_URL: base,
      });
      rmSync(join(dir, 'sitecustomize.py'));
      assert.equal(seen, 'yes');
    });
  });
});
