import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errorMessage } from '../../spec/errors.ts';
import { skip } from '../support/needs.ts';
import { type PythonVenv, pythonVenv } from '../support/python.ts';
import { noise, sha256, type TestHub, tempDir, testHub } from './fixture.ts';

const run = promisify(execFile);

const MODEL = 'acme/tiny';
const files = {
  'model.gguf': noise(3_000_000),
  'config.json': '{"hidden_size":64}',
  'README.md': '# Tiny\n',
  'sub/deeper/tokenizer.json': '{}',
};

describe('the mirror and the real huggingface_hub', () => {
  let venv: PythonVenv;
  let hub: TestHub;
  let cache: string;

  before(async function () {
    this.timeout(300_000);
    try {
      venv = await pythonVenv();
    } catch (error) {
      skip(this, errorMessage(error));
    }
    cache = await tempDir('hf-home-');
    hub = await testHub(
      {
        [MODEL]: { files, settings: { branches: ['v1', 'refs/pr/1'], pipeline_tag: 'text-generation' } },
        'acme/gated': { files: { 'model.gguf': noise(1000) }, settings: { gated: true } },
        'acme/private': { files: { 'model.gguf': noise(1000) }, settings: { private: true } },
      },
      { hf_all: '*', hf_none: [] },
    );
  });

  after(async () => {
    await hub?.close();
    if (cache) await rm(cache, { recursive: true, force: true });
  });

  /** Runs a few lines and parses what they print. */
  async function python(code: string, token?: string): Promise<unknown> {
    const script = `import json\nfrom huggingface_hub import *\nfrom huggingface_hub.errors import *\n${code}`;
    const { stdout } = await run(venv.python, ['-c', script], {
      env: {
        PATH: process.env.PATH,
        HF_ENDPOINT: hub.url,
        HF_HOME: cache,
        HF_HUB_DISABLE_PROGRESS_BARS: '1',
        ...(token ? { HF_TOKEN: token } : {}),
      },
    });
    return JSON.parse(stdout);
  }

  /** The name of the error that `call` raises. */
  async function raised(call: string, token?: string): Promise<unknown> {
    return python(
      `try:\n  ${call}\n  print(json.dumps(None))\nexcept Exception as e:\n  print(json.dumps(type(e).__name__))`,
      token,
    );
  }

  it('model_info tells commit, task and every file with its checksum', async () => {
    const info = await python(
      `i = model_info('${MODEL}', files_metadata=True)
print(json.dumps({'sha': i.sha, 'task': i.pipeline_tag, 'gated': i.gated, 'files': {s.rfilename: [s.size, s.lfs.sha256 if s.lfs else None] for s in i.siblings}}))`,
    );
    const { sha, ...rest } = info as { sha: string };
    assert.match(sha, /^[0-9a-f]{40}$/);
    assert.deepEqual(rest, {
      task: 'text-generation',
      gated: false,
      files: {
        'README.md': [files['README.md'].length, null],
        'config.json': [files['config.json'].length, null],
        'model.gguf': [files['model.gguf'].length, sha256(files['model.gguf'])],
        'sub/deeper/tokenizer.json': [2, null],
      },
    });
  });

  it('snapshot_download brings every byte', async () => {
    const folder = await python(`print(json.dumps(snapshot_download('${MODEL}')))`);
    for (const [path, content] of Object.entries(files))
      assert.equal(sha256(await readFile(join(String(folder), path))), sha256(content), path);
  });

  it('hf_hub_download takes a branch, a pull request and a commit', async () => {
    const folders = await python(
      `sha = model_info('${MODEL}').sha
print(json.dumps([hf_hub_download('${MODEL}', 'config.json', revision=r) for r in ['v1', 'refs/pr/1', sha]]))`,
    );
    for (const path of folders as string[]) assert.equal(await readFile(path, 'utf8'), files['config.json']);
  });

  it('list_repo_tree and get_paths_info know folders and files', async () => {
    const seen = await python(
      `api = HfApi()
row = lambda f: [type(f).__name__, f.path]
print(json.dumps([[row(f) for f in api.list_repo_tree('${MODEL}')], [row(f) for f in api.list_repo_tree('${MODEL}', 'sub', recursive=True)], [row(f) for f in api.get_paths_info('${MODEL}', ['sub', 'model.gguf', 'none'])]]))`,
    );
    assert.deepEqual(seen, [
      [
        ['RepoFile', 'README.md'],
        ['RepoFile', 'config.json'],
        ['RepoFile', 'model.gguf'],
        ['RepoFolder', 'sub'],
      ],
      [
        ['RepoFolder', 'sub/deeper'],
        ['RepoFile', 'sub/deeper/tokenizer.json'],
      ],
      [
        ['RepoFolder', 'sub'],
        ['RepoFile', 'model.gguf'],
      ],
    ]);
  });

  it('refusals arrive as the errors the library has for them', async () => {
    const download = (id: string, more = '') => `hf_hub_download('${id}', 'model.gguf'${more})`;
    assert.equal(await raised(download('acme/none')), 'RepositoryNotFoundError');
    assert.equal(await raised(download('acme/none'), 'hf_all'), 'RepositoryNotFoundError');
    assert.equal(await raised(download(MODEL, ", revision='nope'")), 'RevisionNotFoundError');
    assert.equal(await raised(`hf_hub_download('${MODEL}', 'none.bin')`), 'RemoteEntryNotFoundError');
    assert.equal(await raised(download('acme/gated')), 'GatedRepoError');
    assert.equal(await raised(download('acme/gated'), 'hf_none'), 'GatedRepoError');
    assert.equal(await raised("model_info('acme/gated')"), null);
    assert.equal(await raised("model_info('acme/private')"), 'RepositoryNotFoundError');
    assert.equal(await raised("model_info('acme/private')", 'hf_none'), 'RepositoryNotFoundError');
    assert.equal(await raised(`model_info('${MODEL}')`, 'hf_unknown'), 'HfHubHTTPError');
  });

  it('a token that was granted access opens gated and private repositories', async () => {
    assert.equal(await raised("hf_hub_download('acme/gated', 'model.gguf')", 'hf_all'), null);
    assert.equal(await raised("hf_hub_download('acme/private', 'model.gguf')", 'hf_all'), null);
  });
});
