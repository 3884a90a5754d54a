import assert from 'node:assert/strict';
import type { ContainerInput } from '../../engines/engine.ts';
import { ENGINES, engineFor, engineNamed } from '../../engines/index.ts';
import { llamacpp } from '../../engines/llamacpp.ts';
import { EndpointsError } from '../../spec/errors.ts';
import type { Instance } from '../../spec/hardware.ts';
import type { LlamacppImage } from '../../spec/images.ts';

const instance: Instance = {
  accelerator: 'cpu',
  type: 'cpu',
  size: 'x2',
  architecture: 'CPU',
  cpus: 2.5,
  memoryGb: 4,
  gpus: 0,
  pricePerHour: 0,
  status: 'available',
};

const settings: LlamacppImage = {
  url: 'llama:x',
  ctxSize: 4096,
  nParallel: 2,
  threadsHttp: 4,
  modelPath: 'm.gguf',
};

function input(change: Partial<ContainerInput<LlamacppImage>> = {}): ContainerInput<LlamacppImage> {
  return { settings, instance, env: {}, command: [], args: [], gpus: [], servedName: 'a/b', ...change };
}

const BASE = [
  ...['-m', '/repository/m.gguf', '--alias', 'a/b', '--host', '0.0.0.0', '--port', '8080'],
  ...['--ctx-size', '4096', '--parallel', '2', '--threads-http', '4', '--metrics'],
];

describe('engine llamacpp: arguments', () => {
  const table: [string, Partial<ContainerInput<LlamacppImage>>, string[]][] = [
    ['as many threads as whole CPUs', {}, [...BASE, '--threads', '2']],
    [
      'at least one thread on a fraction of a CPU',
      { instance: { ...instance, cpus: 0.5 } },
      [...BASE, '--threads', '1'],
    ],
    ["the owner's own thread count by environment", { env: { LLAMA_ARG_THREADS: '7' } }, BASE],
    [
      "the owner's arguments last, so that they win",
      { args: ['--threads', '7', '--ctx-size', '1'] },
      [...BASE, '--threads', '2', '--threads', '7', '--ctx-size', '1'],
    ],
    [
      'GPU layers and a projector',
      { settings: { ...settings, nGpuLayers: 99, mmprojModelPath: 'p.gguf' } },
      [...BASE, '--threads', '2', '--n-gpu-layers', '99', '--mmproj', '/repository/p.gguf'],
    ],
    [
      'embeddings with pooling',
      { settings: { ...settings, mode: 'embeddings', pooling: 'mean' } },
      [...BASE, '--threads', '2', '--embeddings', '--pooling', 'mean'],
    ],
    [
      "embeddings with the model's own pooling",
      { settings: { ...settings, mode: 'embeddings' } },
      [...BASE, '--threads', '2', '--embeddings'],
    ],
    [
      'ranking',
      { settings: { ...settings, mode: 'embeddings', pooling: 'rank' } },
      [...BASE, '--threads', '2', '--reranking'],
    ],
    [
      'pooling without embeddings is no flag',
      { settings: { ...settings, pooling: 'mean' } },
      [...BASE, '--threads', '2'],
    ],
  ];
  for (const [name, change, expected] of table) {
    it(name, () => assert.deepEqual(llamacpp.container(input(change)).args, expected));
  }

  it('listens on the port of the settings', () => {
    const { args, port } = llamacpp.container(input({ settings: { ...settings, port: 9000 } }));
    assert.equal(port, 9000);
    assert.equal(args[args.indexOf('--port') + 1], '9000');
  });

  for (const args of [['--port', '1'], ['--host=127.0.0.1'], ['-m', 'x'], ['--api-prefix', '/x']]) {
    it(`refuses ${args.join(' ')}, which would cut the platform off`, () => {
      assert.match(llamacpp.checkArgs(args) ?? '', new RegExp(`must not set ${args[0]?.split('=')[0]}`));
      assert.throws(
        () => llamacpp.container(input({ args })),
        (error) => error instanceof EndpointsError && error.code === 'BAD_ARGS',
      );
    });
  }

  it("drops the owner's values of variables the platform sets and keeps the rest", () => {
    const env = {
      LLAMA_ARG_PORT: '1',
      LLAMA_API_KEY: 'mine',
      LLAMA_ARG_CTX_SIZE: '1',
      LLAMA_ARG_JINJA: '1',
      A: 'b',
    };
    assert.deepEqual(llamacpp.container(input({ env })).env, { LLAMA_ARG_JINJA: '1', A: 'b' });
  });

  it('bounds the container by its instance', () => {
    const { cpus, memoryBytes, pidsLimit, stopGraceMs, gpus, entrypoint } = llamacpp.container(
      input({ gpus: [1, 3], command: ['/bin/serve'] }),
    );
    assert.deepEqual(
      { cpus, memoryBytes, stopGraceMs, gpus, entrypoint },
      {
        cpus: 2.5,
        memoryBytes: 4 * 1024 ** 3,
        stopGraceMs: 15_000,
        gpus: [1, 3],
        entrypoint: ['/bin/serve'],
      },
    );
    assert.ok(pidsLimit > 0);
  });
});

describe('engine llamacpp: probes', () => {
  it('asks /health, or the route of the settings', () => {
    assert.equal(llamacpp.readiness(settings)?.path, '/health');
    assert.equal(llamacpp.readiness({ ...settings, healthRoute: '/up' })?.path, '/up');
    assert.equal(llamacpp.healthRoute({ ...settings, healthRoute: null }), '/health');
  });

  const routes: [string, Partial<LlamacppImage>, string][] = [
    ['one token of text', {}, '/v1/completions'],
    ['one vector', { mode: 'embeddings', pooling: 'mean' }, '/v1/embeddings'],
    ['one vector per token', { mode: 'embeddings', pooling: 'none' }, '/embedding'],
    ['one rank', { mode: 'embeddings', pooling: 'rank' }, '/v1/rerank'],
  ];
  for (const [name, change, path] of routes) {
    it(`infers ${name}`, () =>
      assert.equal(llamacpp.inference({ ...settings, ...change }, 'a/b')?.path, path));
  }
});

describe('engine custom', () => {
  const image = { custom: { url: 'nginx' } };
  const { engine, settings: own } = engineFor(image);

  it('listens on port 80, has no probe, and takes command, arguments and environment as they are', () => {
    const container = engine.container({
      settings: own,
      instance,
      env: { LLAMA_ARG_PORT: '1' },
      command: ['a'],
      args: ['--port', '1'],
      gpus: [],
      servedName: 'a/b',
    });
    assert.equal(container.port, 80);
    assert.deepEqual([container.entrypoint, container.args], [['a'], ['--port', '1']]);
    assert.deepEqual(container.env, { LLAMA_ARG_PORT: '1' });
    assert.equal(engine.readiness(own), null);
    assert.equal(engine.inference(own, 'a/b'), null);
  });

  it('asks its health route when it has one', () => {
    const { engine, settings } = engineFor({ custom: { url: 'x', healthRoute: '/ok' } });
    assert.equal(engine.readiness(settings)?.path, '/ok');
  });

  it('takes the whole repository', () => {
    const files = [{ path: 'config.json', sizeBytes: 1, sha256: null, gitSha1: 'a' }];
    assert.deepEqual(engine.selectFiles(files, own), { ok: true, files });
  });
});

describe('engines by name', () => {
  it('finds every engine under the name a plan carries', () => {
    for (const engine of Object.values(ENGINES)) assert.equal(engineNamed(engine.name), engine);
    assert.throws(() => engineNamed('nosuch'), /no engine is named 'nosuch'/);
  });
});
