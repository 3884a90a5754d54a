import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import OpenAI from 'openai';
import { eventually } from '../support/eventually.ts';
import { FILE, IMAGE, Installation, MODEL, needsInstallation } from '../support/installation.ts';
import { pythonVenv } from '../support/python.ts';

const run = promisify(execFile);

/** The clients people use, none of which was written here, against a whole installation. */
describe('end to end: real clients', function () {
  this.timeout(240_000);
  let installation: Installation;

  before(async function () {
    needsInstallation(this);
    installation = await (await Installation.prepare()).up();
  });
  after(() => installation?.destroy());

  it('huggingface_hub creates, waits, chats, updates, pauses, resumes, scales to zero, wakes and deletes', async () => {
    const { python } = await pythonVenv();
    const { api, gateway, token, namespace } = installation.connection;
    const env = {
      ...process.env,
      API: api,
      GATEWAY: gateway,
      HF_TOKEN: token,
      HF_ENDPOINT: api,
      NAMESPACE: namespace,
      IMAGE,
      MODEL,
      FILE,
    };
    const { stdout } = await run(python, [join(import.meta.dirname, 'lifecycle.py')], {
      env,
      timeout: 200_000,
    });
    assert.match(stdout, /all done$/m);
    await eventually(
      'the deleted endpoint has no container',
      async () => (await installation.containers('client')).length === 0,
      { timeoutMs: 60_000 },
    );
  });

  it('openai chats, streamed and not', async () => {
    await installation.create('chat');
    const { status } = await installation.until('chat', 'running');
    const client = new OpenAI({
      baseURL: `${status.url}/v1`,
      apiKey: installation.connection.token,
      maxRetries: 0,
    });
    const question = {
      model: 'any',
      messages: [{ role: 'user' as const, content: 'Say hello.' }],
      max_tokens: 16,
    };
    const answer = await client.chat.completions.create(question);
    assert.ok((answer.choices[0]?.message.content ?? '').length > 0);

    let chunks = 0;
    let text = '';
    for await (const chunk of await client.chat.completions.create({ ...question, stream: true })) {
      chunks += 1;
      text += chunk.choices[0]?.delta.content ?? '';
    }
    assert.ok(chunks > 3 && text.length > 0, `${chunks} chunks: ${text}`);

    const stranger = new OpenAI({ baseURL: `${status.url}/v1`, apiKey: 'hf_nobody', maxRetries: 0 });
    await assert.rejects(
      stranger.chat.completions.create(question),
      (error: unknown) => error instanceof OpenAI.APIError && error.status === 401,
    );
  });

  it('the hf command lists, describes, deploys, pauses and deletes', async () => {
    const hf = async (...args: string[]) => {
      const { code, output } = await installation.cli('hf', '--', 'endpoints', ...args);
      assert.equal(code, 0, output);
      return output;
    };
    await hf(
      ...[
        'deploy',
        'cli',
        '--repo',
        MODEL,
        '--framework',
        'custom',
        '--accelerator',
        'cpu',
        '--vendor',
        'docker',
      ],
      ...['--region', 'local', '--instance-type', 'cpu', '--instance-size', 'x1', '--engine', 'custom'],
      ...['--custom-image', IMAGE, '--port', '8080', '--health-route', '/health'],
      ...['--container-args', `-m /repository/${FILE} --host 0.0.0.0 --port 8080 --ctx-size 512`],
    );
    await installation.until('cli', 'running');
    assert.match(await hf('ls'), /\bcli\b.*running/);
    assert.match(await hf('describe', 'cli'), /running/);
    await hf('pause', 'cli');
    await installation.until('cli', 'paused');
    assert.match(await hf('hardware'), /docker/);
    await hf('delete', 'cli', '--yes');
    const missing = await installation.cli('hf', '--', 'endpoints', 'describe', 'cli');
    assert.equal(missing.code, 404 % 256, missing.output);
  });
});
