import assert from 'node:assert/strict';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { docker, Installation, needsInstallation } from '../support/installation.ts';
import { importStandIns, STAND_INS } from '../support/stand-in-image.ts';
import { writeTinyModel } from '../support/tiny-model.ts';

const MODEL = 'some/tiny';
const TOKENS = 250;
/** The real ones need it for themselves, however small the model. */
const SIZE = { instanceSize: 'x2' };

interface Case {
  engine: keyof typeof STAND_INS;
  image: object;
  task: string;
  /** A smallest question, and whether the answer is one. */
  ask: [path: string, body: object, good: (answer: unknown) => boolean];
  /** A stream of `TOKENS` tokens, 5 s long; null where there are none. */
  stream: [path: string, body: object] | null;
  /** What the metrics say after one answer to `ask`, and the first inference of the platform. */
  metrics: RegExp[];
  refused: RegExp;
}

const has = (answer: unknown, name: string) =>
  typeof answer === 'object' && answer !== null && name in answer;
const ofReplica = (name: string, value: string) =>
  new RegExp(`^${name}\\{replica_id="[^"]+"\\} ${value}$`, 'm');

const CASES: Case[] = [
  {
    engine: 'tgi',
    image: { tgi: { url: STAND_INS.tgi.image, maxTotalTokens: 512, maxInputLength: 256 } },
    task: 'text-generation',
    ask: ['/generate', { inputs: 'Hi', parameters: { max_new_tokens: 4 } }, (a) => has(a, 'generated_text')],
    stream: ['/generate_stream', { inputs: 'Hi', parameters: { max_new_tokens: TOKENS } }],
    metrics: [
      ofReplica('engine_requests_running', '0'),
      ofReplica('engine_generated_tokens_total', '5'),
      ofReplica('engine_requests_succeeded_total', '2'),
      ofReplica('engine_request_duration_seconds_count', '2'),
    ],
    refused: /^BAD_ARGS: TGI: .*error: unexpected argument '--no-such-flag' found/,
  },
  {
    engine: 'tei',
    image: { tei: { url: STAND_INS.tei.image, maxBatchTokens: 2048 } },
    task: 'feature-extraction',
    ask: ['/v1/embeddings', { input: 'Hi' }, (a) => has(a, 'data')],
    stream: null,
    metrics: [
      ofReplica('engine_requests_waiting', '0'),
      ofReplica('engine_requests_succeeded_total', '2'),
      ofReplica('engine_prompt_tokens_total', '10'),
    ],
    refused: /^BAD_ARGS: TEI: .*error: unexpected argument '--no-such-flag' found/,
  },
  {
    engine: 'infinity',
    image: { infinity: { url: STAND_INS.infinity.image, batchSize: 16 } },
    task: 'feature-extraction',
    ask: ['/embeddings', { model: MODEL, input: ['Hi'] }, (a) => has(a, 'data')],
    stream: null,
    metrics: [
      ofReplica('engine_requests_succeeded_total', '2'),
      ofReplica('engine_requests_failed_total', '0'),
      ofReplica('engine_request_duration_seconds_count', '2'),
    ],
    refused: /^BAD_ARGS: Infinity: .*No such option: --no-such-flag/,
  },
  {
    engine: 'sglang',
    image: { sGLang: { url: STAND_INS.sglang.image, maxRunningRequests: 8 } },
    task: 'text-generation',
    ask: [
      '/v1/chat/completions',
      { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 4 },
      (a) => has(a, 'choices'),
    ],
    stream: [
      '/v1/chat/completions',
      { messages: [{ role: 'user', content: 'Hi' }], max_tokens: TOKENS, stream: true },
    ],
    metrics: [
      ofReplica('engine_requests_running', '0'),
      ofReplica('engine_kv_cache_usage_ratio', '0'),
      ofReplica('engine_generated_tokens_total', '5'),
      ofReplica('engine_time_to_first_token_seconds_count', '2'),
    ],
    refused: /^BAD_ARGS: SGLang: .*error: unrecognized arguments: --no-such-flag/,
  },
];

/**
 * TGI, TEI, Infinity and SGLang through the whole system, with a stand-in in the place of the engine: it takes documented arguments
 * only and starts, answers, counts and stops as documented. What the real ones do beyond that is not shown here.
 */
describe('end to end: stand-ins of engines', function () {
  this.timeout(240_000);
  let installation: Installation;
  let images: { remove(): void } | undefined;

  before(async function () {
    needsInstallation(this);
    images = await importStandIns(this);
    installation = await Installation.prepare();
    writeTinyModel(join(installation.dir, 'hub', MODEL));
    await installation.up();
  });
  after(async () => {
    await installation?.destroy();
    images?.remove();
  });

  const url = (name: string, path: string) => {
    const { gateway, namespace } = installation.connection;
    return `${gateway}/${namespace}/${name}${path}`;
  };
  const post = (address: string, body: object) =>
    fetch(address, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${installation.connection.token}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
    });
  const put = (name: string, model: object) =>
    installation.api('PUT', `/v2/endpoint/${installation.connection.namespace}/${name}`, { model });

  for (const { engine, image, task, ask, stream, metrics, refused } of CASES) {
    const model = { repository: MODEL, framework: 'pytorch', task };

    it(`stand-in of ${engine}: starts, answers, and its metrics are read`, async () => {
      await installation.create(engine, { image, model, compute: SIZE });
      await installation.until(engine, 'running');
      const [path, body, good] = ask;
      const answer = await post(url(engine, path), body);
      assert.equal(answer.status, 200);
      assert.ok(good(await answer.json()));
      let text = '';
      await eventually(
        `metrics of ${engine}`,
        async () => {
          text = await installation.openMetrics(engine);
          return metrics.every((line) => line.test(text));
        },
        { timeoutMs: 60_000, everyMs: 500 },
      ).catch((error: Error) => assert.fail(`${error.message}:\n${text}`));
    });

    it(`stand-in of ${engine}: an update lets a running request end, then the container`, async () => {
      const [before] = await installation.containers(engine);
      const running = stream && (await post(url(engine, stream[0]), stream[1]));
      assert.equal(running?.status ?? 200, 200);
      assert.equal((await put(engine, { env: { CHANGED: 'yes' } })).status, 200);
      const text = (await running?.text()) ?? '';
      if (stream) assert.equal(text.split('tok ').length - 1, TOKENS);
      if (stream) assert.match(text, /\[DONE\]\n\n$/);
      await eventually(
        'one container, another one',
        async () => {
          const now = await installation.containers(engine);
          return now.length === 1 && now[0] !== before;
        },
        { timeoutMs: 120_000 },
      );
      await installation.until(engine, 'running');
      const [path, body] = ask;
      assert.equal((await post(url(engine, path), body)).status, 200);
    });

    it(`stand-in of ${engine}: an undocumented flag is told in its own words, and the old one serves on`, async () => {
      await put(engine, { args: ['--no-such-flag', '1'] });
      await eventually(
        'updateFailed',
        async () => (await installation.get(engine)).status.state === 'updateFailed',
        { timeoutMs: 120_000, everyMs: 200 },
      );
      const { status } = await installation.get(engine);
      assert.match(status.errorMessage ?? '', refused);
      const [path, body] = ask;
      assert.equal((await post(url(engine, path), body)).status, 200);
      await installation.remove(engine);
    });
  }

  it('stand-in of tgi: gets no argument or variable that it does not document, and its key by variable', async () => {
    await installation.create('asked', {
      compute: SIZE,
      image: CASES[0]?.image ?? {},
      model: { repository: MODEL, task: 'text-generation' },
    });
    await installation.until('asked', 'running');
    const [id = ''] = await installation.containers('asked');
    const [text = ''] = docker('inspect', '--format', '{{json .Config.Env}}', id);
    assert.match(text, /"API_KEY=/);
    assert.match(text, /"MODEL_ID=\/repository"/);
    const address = docker(
      'inspect',
      '--format',
      '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}}:{{.HostPort}}{{end}}{{end}}',
      id,
    );
    const stranger = await fetch(`http://${address}/generate`, { method: 'POST', body: '{"inputs":"x"}' });
    assert.equal(stranger.status, 401);
    await installation.remove('asked');
  });
});
