import assert from 'node:assert/strict';
import { join } from 'node:path';
import OpenAI from 'openai';
import { eventually } from '../support/eventually.ts';
import { docker, Installation, needsInstallation } from '../support/installation.ts';
import { needs } from '../support/needs.ts';
import { writeTinyModel } from '../support/tiny-model.ts';

const GOOD = 'some/tiny';
/** Its attention heads are too small for vLLM's kernel on CPUs: it starts, calls itself healthy, and dies of a question. */
const BROKEN = 'some/tiny-heads';
/** It imports PyTorch and compiles a kernel for the first question; minutes where the machine is busy. */
const START_MS = 600_000;
const TOKENS = 200;

/** vLLM itself, on CPUs, through the whole system. */
describe('real vLLM', function () {
  this.timeout(1_500_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    needs(this, 'TEST_VLLM_IMAGE');
    installation = await Installation.prepare();
    writeTinyModel(join(installation.dir, 'hub', GOOD));
    writeTinyModel(join(installation.dir, 'hub', BROKEN), { headSize: 16 });
    await installation.up();
  });
  after(() => installation?.destroy());

  const create = async (name: string, repository: string) => {
    const { namespace } = installation.connection;
    const answer = await installation.api('POST', `/v2/endpoint/${namespace}`, {
      name,
      type: 'authenticated',
      provider: { vendor: 'docker', region: 'local' },
      compute: {
        accelerator: 'cpu',
        instanceType: 'cpu',
        instanceSize: 'x2',
        scaling: { minReplica: 1, maxReplica: 1, scaleToZeroTimeout: null },
      },
      model: {
        repository,
        framework: 'pytorch',
        task: 'text-generation',
        image: { vLLM: { url: process.env.TEST_VLLM_IMAGE } },
        // Compiling the model would take longer than everything else here.
        args: ['--enforce-eager', '--max-model-len', '512'],
      },
    });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  };
  const clientOf = (name: string) => {
    const { gateway, namespace, token } = installation.connection;
    return new OpenAI({ baseURL: `${gateway}/${namespace}/${name}/v1`, apiKey: token, maxRetries: 0 });
  };
  const question = (max_tokens: number) => ({
    model: GOOD,
    messages: [{ role: 'user' as const, content: 'Say hello.' }],
    max_tokens,
    ignore_eos: true,
  });

  it('chats and streams', async () => {
    await create('chat', GOOD);
    const { status } = await installation.until('chat', 'running', START_MS);
    assert.equal(status.readyReplica, 1);
    const client = clientOf('chat');
    const answer = await client.chat.completions.create(question(8));
    assert.equal(answer.usage?.completion_tokens, 8);
    let chunks = 0;
    for await (const { choices } of await client.chat.completions.create({ ...question(16), stream: true }))
      if (choices[0]?.delta.content !== undefined) chunks += 1;
    assert.ok(chunks >= 8, `${chunks} chunks`);
  });

  it('says what it has counted under our names', async () => {
    let text = '';
    const number = (name: string) => {
      const [, value] = new RegExp(`^${name}\\{replica_id="[^"]+"\\} (\\S+)$`, 'm').exec(text) ?? [];
      return Number(value);
    };
    await eventually(
      'the answers are counted',
      async () => {
        text = await installation.openMetrics('chat');
        return number('engine_generated_tokens_total') >= 25;
      },
      { timeoutMs: 120_000, everyMs: 1000 },
    );
    // One token of the first inference, then eight and sixteen.
    assert.equal(number('engine_generated_tokens_total'), 25, text);
    assert.ok(number('engine_prompt_tokens_total') > 20);
    assert.equal(number('engine_requests_succeeded_total'), 3);
    assert.equal(number('engine_requests_failed_total'), 0);
    assert.equal(number('engine_requests_running'), 0);
    assert.equal(number('engine_requests_waiting'), 0);
    assert.ok(number('engine_kv_cache_usage_ratio') >= 0);
    assert.equal(number('engine_time_to_first_token_seconds_count'), 3);
    assert.ok(number('engine_inter_token_latency_seconds_count') >= 20);
    assert.equal(number('engine_request_duration_seconds_count'), 3);
    assert.equal(number('engine_queue_time_seconds_count'), 3);
    assert.match(text, /^engine_time_to_first_token_seconds_bucket\{replica_id="[^"]+",le="0\.001"\} \d+$/m);
  });

  it('ends a running answer before it goes, on an update', async () => {
    const [before = ''] = await installation.containers('chat');
    const stream = await clientOf('chat').chat.completions.create({ ...question(TOKENS), stream: true });
    const path = `/v2/endpoint/${installation.connection.namespace}/chat`;
    const put = await installation.api('PUT', path, { model: { env: { CHANGED: 'yes' } } });
    assert.equal(put.status, 200);
    let finished: string | null | undefined;
    for await (const { choices } of stream) finished = choices[0]?.finish_reason ?? finished;
    assert.equal(finished, 'length');
    // Questions go on while the new one starts and the old one ends.
    const client = clientOf('chat');
    await eventually(
      'one container, another one',
      async () => {
        assert.equal((await client.chat.completions.create(question(4))).usage?.completion_tokens, 4);
        const now = await installation.containers('chat');
        return now.length === 1 && now[0] !== before;
      },
      { timeoutMs: START_MS, everyMs: 500 },
    );
    await installation.until('chat', 'running', START_MS);
    assert.equal((await client.chat.completions.create(question(4))).usage?.completion_tokens, 4);
    assert.ok(!docker('ps', '--all', '--no-trunc', '--quiet').includes(before));
    await installation.remove('chat');
  });

  it('that is healthy and dies of its first question is never in service, and its own sentence says why', async () => {
    await create('broken', BROKEN);
    let routed = 0;
    const failed = await eventually(
      'broken has failed',
      async () => {
        routed += (await installation.query('SELECT 1 FROM routes')).length;
        const { status } = await installation.get('broken');
        assert.equal(status.readyReplica, 0);
        assert.notEqual(status.state, 'running');
        return status.state === 'failed' && status;
      },
      { timeoutMs: START_MS, everyMs: 200 },
    );
    assert.equal(routed, 0);
    assert.match(
      failed.errorMessage ?? '',
      /^INFERENCE_FAILED: vllm says it is healthy, but .* answered 500/,
    );
    assert.match(failed.errorMessage ?? '', /Its log says: .*head_?(dim|size).* 16/i);
    assert.deepEqual(await installation.query('SELECT 1 FROM replicas WHERE ready_at IS NOT NULL'), []);
    await eventually(
      'its container is gone',
      async () => (await installation.containers('broken')).length === 0,
      { timeoutMs: 120_000 },
    );
    await installation.remove('broken');
  });
});
