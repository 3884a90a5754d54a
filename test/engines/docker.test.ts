import assert from 'node:assert/strict';
import { containerOptions } from '../../activities/containers/create.ts';
import { engineFor } from '../../engines/index.ts';
import type { Image } from '../../spec/images.ts';
import type { ReplicaPlan } from '../../spec/lifecycle.ts';
import { HARDWARE, type Hardware } from './fixtures/hardware.ts';

const KEY = 'the-key-of-the-replica';

function asked(image: Image, on: Hardware, gpus: number[], secrets: Record<string, string> = {}) {
  const { engine, settings } = engineFor(image);
  const plan: ReplicaPlan = {
    replicaId: 'r-1',
    endpointId: 'e',
    workflowId: 'w',
    revision: 1,
    containerName: 'c',
    weights: null,
    container: engine.container({
      settings,
      instance: HARDWARE[on],
      env: {},
      command: [],
      args: [],
      gpus,
      servedName: 'a/b',
    }),
    sealed: '',
    readiness: { engine: engine.name, health: null, inference: null, deadlineMs: 1 },
  };
  return containerOptions(
    plan,
    { env: secrets, registry: null, hubToken: null, engineKey: KEY },
    { installation: 'i', networkId: 'n', address: '127.0.0.1', weightsPath: '/weights' },
  );
}

describe('what Docker is asked for', () => {
  const sglang = asked(
    { sGLang: { url: 'lmsysorg/sglang:v0.5.21', tensorParallelSize: 2 } },
    'a100x2',
    [2, 5],
  );

  it('gives an engine the GPUs of its replica by index, its shared memory and its process limits', () => {
    assert.deepEqual(sglang.HostConfig?.DeviceRequests, [
      { Driver: 'nvidia', DeviceIDs: ['2', '5'], Capabilities: [['gpu']] },
    ]);
    assert.equal(sglang.HostConfig?.ShmSize, 32 * 1024 ** 3);
    assert.deepEqual(sglang.HostConfig?.Ulimits, [
      { Name: 'memlock', Soft: -1, Hard: -1 },
      { Name: 'stack', Soft: 67_108_864, Hard: 67_108_864 },
    ]);
  });

  it('keeps the limits of Docker where an engine names none', () => {
    const { HostConfig } = asked({ vLLM: { url: 'vllm/vllm-openai:v0.23.0' } }, 'l4', [0]);
    assert.equal(HostConfig && 'Ulimits' in HostConfig, false);
  });

  const keyed: [string, Image, Hardware, string][] = [
    ['vLLM', { vLLM: { url: 'vllm/vllm-openai:v0.23.0' } }, 'l4', 'VLLM_API_KEY'],
    ['SGLang', { sGLang: { url: 'lmsysorg/sglang:v0.5.21' } }, 'l4', 'ENGINE_API_KEY'],
    ['TGI', { tgi: { url: 'ghcr.io/huggingface/text-generation-inference:3.3.5' } }, 'l4', 'API_KEY'],
    ['TEI', { tei: { url: 'ghcr.io/huggingface/text-embeddings-inference:cpu-1.9' } }, 'cpu2', 'API_KEY'],
  ];
  for (const [name, image, on, variable] of keyed) {
    it(`gives ${name} its key by ${variable} alone, also against a secret of that name`, () => {
      const options = asked(image, on, [], { [variable]: 'mine', OTHER: 'x' });
      assert.ok(options.Env?.includes(`${variable}=${KEY}`));
      assert.ok(options.Env?.includes('OTHER=x'));
      assert.equal(options.Env?.filter((entry) => entry.startsWith(`${variable}=`)).length, 1);
      assert.ok(!JSON.stringify([options.Cmd, options.Entrypoint, options.Labels]).includes(KEY));
    });
  }
});
