import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { docker, FILE, IMAGE, Installation, MODEL, needsInstallation } from '../support/installation.ts';

/** Real llama.cpp through the whole system: each kind of answer it gives, and how it is stopped. */
describe('end to end: llama.cpp', function () {
  this.timeout(240_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    installation = await Installation.prepare();
    const repository = join(installation.dir, 'hub', MODEL);
    mkdirSync(join(repository, 'extra'), { recursive: true });
    for (const name of [
      'SmolLM2-135M-Instruct.Q8_0.gguf',
      'extra/notes-Q4_1.gguf',
      'SmolLM2-135M-Instruct.Q2_K.gguf',
    ])
      writeFileSync(join(repository, name), 'GGUF');
    await installation.up();
  });
  after(() => installation?.destroy());

  const image = (change: object = {}) => ({
    llamacpp: { url: IMAGE, ctxSize: 2048, nParallel: 2, threadsHttp: 4, modelPath: FILE, ...change },
  });
  const post = (name: string, path: string, body: object) => {
    const { gateway, namespace, token } = installation.connection;
    return fetch(`${gateway}/${namespace}/${name}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  };
  const ask = async <T>(name: string, path: string, body: object): Promise<T> => {
    const answer = await post(name, path, body);
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    return JSON.parse(text) as T;
  };

  describe('text', () => {
    before(async () => {
      await installation.create('text', { image: image({ variant: '*Q4_1*.gguf' }) });
      await installation.until('text', 'running');
    });
    after(() => installation?.remove('text'));

    it('fetches the variant that the glob names, and no other', () => {
      const weights = join(installation.dir, 'data', 'agent', 'weights');
      const files = readdirSync(weights, { recursive: true, encoding: 'utf8' }).filter((f) =>
        f.endsWith('.gguf'),
      );
      assert.ok(files.some((file) => file.endsWith(FILE)));
      assert.ok(!files.some((file) => /Q8_0|Q2_K/.test(file)), files.join());
    });

    it('completes text and counts its tokens', async () => {
      const { choices, usage } = await ask<{
        choices: { text: string }[];
        usage: { completion_tokens: number };
      }>('text', '/v1/completions', { prompt: 'Once upon a time', max_tokens: 12, ignore_eos: true });
      assert.ok(choices[0]?.text);
      assert.equal(usage.completion_tokens, 12);
    });

    it('answers in the JSON that a schema asks for', async () => {
      const schema = {
        type: 'object',
        properties: {
          colour: { enum: ['red', 'green'] },
          count: { type: 'integer', minimum: 1, maximum: 9 },
        },
        required: ['colour', 'count'],
        additionalProperties: false,
      };
      const { choices } = await ask<{ choices: { message: { content: string } }[] }>(
        'text',
        '/v1/chat/completions',
        {
          messages: [{ role: 'user', content: 'Tell me a story about the sea.' }],
          max_tokens: 64,
          response_format: { type: 'json_schema', json_schema: { name: 'thing', schema } },
        },
      );
      const said = JSON.parse(choices[0]?.message.content ?? '') as { colour: string; count: number };
      assert.ok(['red', 'green'].includes(said.colour), JSON.stringify(said));
      assert.ok(Number.isInteger(said.count) && said.count >= 1 && said.count <= 9);
    });

    it('keeps to a grammar', async () => {
      const { content } = await ask<{ content: string }>('text', '/completion', {
        prompt: 'Is the sky blue?',
        n_predict: 8,
        grammar: 'root ::= "yes" | "no"',
      });
      assert.match(content, /^(yes|no)$/);
    });

    it('works on as many requests at once as it has slots', async () => {
      const streams = [0, 1].map(async () => {
        const times: number[] = [];
        const answer = await post('text', '/v1/completions', {
          prompt: 'Count:',
          max_tokens: 60,
          ignore_eos: true,
          stream: true,
        });
        for await (const _ of answer.body ?? []) times.push(performance.now());
        return { first: times[0] ?? 0, last: times.at(-1) ?? 0 };
      });
      const [a, b] = await Promise.all(streams);
      assert.ok(a && b);
      // Both were under way at the same time: each began before the other had ended.
      assert.ok(a.first < b.last && b.first < a.last, JSON.stringify([a, b]));
      assert.ok(a.last > a.first && b.last > b.first);
    });

    it('shows what it has counted under our names', async () => {
      await eventually(
        'the tokens of these tests are counted',
        async () => {
          const text = await installation.openMetrics('text');
          const [, tokens] = /^engine_generated_tokens_total\{replica_id="[^"]+"\} (\d+)$/m.exec(text) ?? [];
          return (
            Number(tokens) > 120 &&
            /^engine_requests_running\{/m.test(text) &&
            /^requests_in_flight\{/m.test(text)
          );
        },
        { timeoutMs: 60_000, everyMs: 500 },
      );
    });

    it('is stopped only when the answer it is giving has ended', async () => {
      const [container = ''] = await installation.containers('text');
      const answer = await post('text', '/v1/completions', {
        prompt: 'Once upon a time',
        max_tokens: 120,
        ignore_eos: true,
        stream: true,
      });
      const reader = answer.body?.getReader();
      await reader?.read();
      const path = `/v2/endpoint/${installation.connection.namespace}/text`;
      const put = await installation.api('PUT', path, { model: { image: image({ ctxSize: 1024 }) } });
      assert.equal(put.status, 200);
      let text = '';
      for (;;) {
        const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
        if (done) break;
        text += Buffer.from(value ?? []).toString();
      }
      assert.match(text, /data: \[DONE\]\s*$/);
      assert.equal(text.match(/"finish_reason":"length"/g)?.length, 1);
      await eventually(
        'another container, one',
        async () => {
          const now = await installation.containers('text');
          return now.length === 1 && now[0] !== container;
        },
        { timeoutMs: 120_000 },
      );
      assert.ok(!docker('ps', '--all', '--no-trunc', '--quiet').includes(container));
      await installation.until('text', 'running');
    });
  });

  it('gives vectors in embeddings mode, near for near meanings', async () => {
    await installation.create('vectors', { image: image({ mode: 'embeddings', pooling: 'mean' }) });
    await installation.until('vectors', 'running');
    const { data } = await ask<{ data: { embedding: number[] }[] }>('vectors', '/v1/embeddings', {
      input: ['A cat sits on the mat.', 'A cat is sitting on a mat.', 'Interest rates rose by two percent.'],
    });
    const [cat = [], same = [], rates = []] = data.map(({ embedding }) => embedding);
    assert.ok(cat.length > 100);
    assert.ok(cosine(cat, same) > cosine(cat, rates), `${cosine(cat, same)} and ${cosine(cat, rates)}`);
    await installation.remove('vectors');
  });
});

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
