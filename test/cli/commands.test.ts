import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { registryOf } from '../../cli/services/engine-image.ts';
import { endpoints } from './support.ts';

describe('cli: commands', () => {
  let dir: string;
  let env: NodeJS.ProcessEnv;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'commands-'));
    const { DATABASE_URL, ENDPOINTS_API, ENDPOINTS_JOIN_TOKEN, ...inherited } = process.env;
    env = { ...inherited, ENDPOINTS_DATA_DIR: join(dir, 'data') };
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('without an installation say how to start one', async () => {
    for (const args of [
      ['token', 'list'],
      ['hf', '--', 'endpoints', 'ls'],
    ]) {
      const { code, stderr } = await endpoints(args, env);
      assert.equal(code, 1);
      assert.match(stderr, /^error: no installation in .*: start it with 'npm start'.*\n$/);
    }
  });

  it('refuse wrong usage with exit code 2', async () => {
    for (const args of [['nonsense'], ['mirror'], ['mirror', dir, '--port', 'x'], ['up', '--colour']]) {
      const { code, stderr } = await endpoints(args, env);
      assert.equal(code, 2, args.join(' '));
      assert.match(stderr, /^error: /);
    }
  });

  it('name what an agent lacks', async () => {
    assert.match((await endpoints(['agent'], env)).stderr, /^error: which installation\? give --api/);
    const { stderr } = await endpoints(['agent', '--api', 'http://127.0.0.1:1'], env);
    assert.match(stderr, /^error: ENDPOINTS_JOIN_TOKEN is not set: make a token with/);
  });

  it('list the benchmarks there are for an unknown one', async () => {
    const { code, stderr } = await endpoints(['bench', 'nonsense'], env);
    assert.equal(code, 1);
    assert.match(stderr, /^error: no benchmark is called 'nonsense': /);
  });

  it('know the registry of an image reference', () => {
    assert.equal(registryOf('ghcr.io/ggml-org/llama.cpp:server'), 'ghcr.io');
    assert.equal(registryOf('localhost:5000/llama'), 'localhost:5000');
    assert.equal(registryOf('vllm/vllm-openai:latest'), 'registry-1.docker.io');
    assert.equal(registryOf('debian'), 'registry-1.docker.io');
  });
});
