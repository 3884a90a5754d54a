import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listModels, nameFor, placeFor, recipeById, recipeFor } from '../../catalog/choose.ts';
import { loadCatalog } from '../../catalog/load.ts';
import { loadPlatformConfig } from '../../runtime/config.ts';
import { EndpointsError } from '../../spec/errors.ts';
import type { Vendor } from '../../spec/hardware.ts';

const models = loadCatalog();
const { vendors } = loadPlatformConfig({});
const refusal = (code: string, message: RegExp) => (error: unknown) =>
  error instanceof EndpointsError && error.code === code && message.test(error.message);

/** An installation with machines of its own that have an L4. */
function withL4(): Vendor[] {
  const rented = vendors.find(({ name }) => name === 'gcp');
  const l4 = rented?.regions[0]?.instances.find(({ type, size }) => type === 'nvidia-l4' && size === 'x1');
  assert.ok(l4);
  const own: Vendor = {
    name: 'rack',
    provider: 'docker',
    regions: [{ name: 'cellar', label: 'Cellar', instances: [l4] }],
  };
  return [...vendors, own];
}

describe('catalogue: choosing', () => {
  it('lists by accelerator, engine, licence, task and part of the name', () => {
    const ids = (filter: Parameters<typeof listModels>[1]) =>
      listModels(models, filter).flatMap(({ recipes }) => recipes.map(({ id }) => id));
    assert.equal(ids({}).length, models.flatMap(({ recipes }) => recipes).length);
    assert.ok(ids({ accelerator: 'cpu' }).includes('smollm2-135m-llamacpp-cpu'));
    assert.ok(!ids({ accelerator: 'cpu' }).includes('llama-3-2-1b-llamacpp-l4'));
    assert.ok(ids({ engine: 'SGLang' }).every((id) => id.includes('sglang')));
    assert.deepEqual(ids({ search: 'bge-m3' }), ['bge-m3-tei-l4']);
    assert.deepEqual(ids({ license: 'gemma', task: 'image-text-to-text' }), ['gemma-3-27b-vllm-a100']);
    assert.deepEqual(ids({ engine: 'tgi', accelerator: 'cpu' }), []);
  });

  it('takes the first recipe whose hardware is there, else the first', () => {
    const repository = 'bartowski/Llama-3.2-1B-Instruct-GGUF';
    assert.equal(recipeFor(models, { repository }, vendors).recipe.id, 'llama-3-2-1b-llamacpp-cpu');
    const gpu = { repository, accelerator: 'gpu' };
    assert.equal(recipeFor(models, gpu, vendors).recipe.id, 'llama-3-2-1b-llamacpp-l4');
    const file = { repository, ggufFile: 'Llama-3.2-1B-Instruct-Q8_0.gguf' };
    assert.equal(recipeFor(models, file, vendors).recipe.id, 'llama-3-2-1b-llamacpp-l4');
    const two = { repository: 'Qwen/Qwen2.5-7B-Instruct' };
    assert.equal(recipeFor(models, two, withL4()).recipe.id, 'qwen2-5-7b-vllm-l4');
  });

  it('says what it has where there is no such model or recipe', () => {
    assert.throws(
      () => recipeFor(models, { repository: 'no/such' }, vendors),
      refusal('NOT_FOUND', /'no\/such' is not in the catalogue/),
    );
    assert.throws(
      () => recipeFor(models, { repository: 'BAAI/bge-m3', accelerator: 'neuron' }, vendors),
      refusal('NOT_FOUND', /no recipe for neuron: it has bge-m3-tei-l4 gpu/),
    );
    assert.throws(() => recipeById(models, 'nope'), refusal('NOT_FOUND', /recipe 'nope'/));
  });

  it('finds where its hardware is, or says what is missing', () => {
    const { recipe } = recipeById(models, 'bge-m3-tei-l4');
    assert.deepEqual(placeFor(recipe, withL4()), { ok: true, vendor: 'rack', region: 'cellar' });
    const nowhere = placeFor(recipe, vendors.slice(0, 1));
    assert.match(nowhere.ok ? '' : nowhere.message, /needs nvidia-l4 x1, which no vendor .*platform\.yaml/);
  });

  it('makes names that may be one', () => {
    assert.equal(nameFor({ repository: 'Qwen/Qwen2.5-7B-Instruct' }, 'abc'), 'qwen2-5-7b-instruct-abc');
    assert.equal(nameFor({ repository: 'bartowski/Meta-Llama-3.1-8B-Instruct-GGUF' }, 'x1z').length, 32);
    assert.equal(nameFor({ repository: 'o/___' }, 'abc'), 'model-abc');
  });
});

describe('catalogue: reading', () => {
  it('names file and place of what is wrong', () => {
    const dir = mkdtempSync(join(tmpdir(), 'catalog-'));
    try {
      const file = join(dir, 'a.yaml');
      writeFileSync(
        file,
        '- repository: a/b\n  license: mit\n  task: t\n  added: 2026-01-01\n  recipes: []\n',
      );
      assert.throws(() => loadCatalog(dir), /a\.yaml: 0\.recipes: /);
      writeFileSync(file, '- [');
      assert.throws(() => loadCatalog(dir), /a\.yaml: cannot be read: /);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
