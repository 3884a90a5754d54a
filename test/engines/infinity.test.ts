import assert from 'node:assert/strict';
import { infinity } from '../../engines/infinity.ts';
import { readMetrics } from '../../engines/metrics/map.ts';
import { HARDWARE } from './fixtures/hardware.ts';

const settings = { url: 'michaelf34/infinity:0.0.77-cpu' };
const model = (task: string | null, args: string[] = []) => ({ task, args, command: [], env: {} });

describe('engine infinity', () => {
  it('asks for what the task is good for, and for nothing where nobody said it', () => {
    const path = (task: string | null) => infinity.inference(settings, 'a/b', model(task))?.path ?? null;
    assert.equal(path('feature-extraction'), '/embeddings');
    assert.equal(path('text-ranking'), '/rerank');
    assert.equal(path('text-classification'), '/classify');
    assert.equal(path(null), null);
  });

  const refused: [string, Parameters<typeof infinity.checkSettings>, string, RegExp][] = [
    ['a model that generates', [settings, HARDWARE.cpu2, model('text-generation')], 'model.task', /use vLLM/],
    [
      'a GPU build on CPUs',
      [{ url: 'michaelf34/infinity:latest' }, HARDWARE.cpu2, model('feature-extraction')],
      'model.image.infinity.url',
      /needs a GPU and cpu x2 has none.*-cpu/,
    ],
    [
      'a CPU build on a GPU',
      [settings, HARDWARE.l4, model('feature-extraction')],
      'model.image.infinity.url',
      /idle/,
    ],
  ];
  for (const [what, input, field, message] of refused) {
    it(`refuses ${what}`, () => {
      const refusal = infinity.checkSettings(...input);
      assert.equal(refusal?.field, field);
      assert.match(refusal?.message ?? '', message);
    });
  }

  it('runs code of the repository only where the owner allows it, and reports to nobody', () => {
    const env = (args: string[]) =>
      infinity.container({
        settings,
        instance: HARDWARE.cpu2,
        env: {},
        command: [],
        args,
        gpus: [],
        servedName: 'a/b',
      }).env;
    assert.equal(env([]).INFINITY_TRUST_REMOTE_CODE, 'false');
    assert.equal(env(['--trust-remote-code']).INFINITY_TRUST_REMOTE_CODE, 'true');
    assert.equal(env([]).INFINITY_ANONYMOUS_USAGE_STATS, '0');
  });

  it('keeps what the platform reaches it by', () => {
    assert.match(infinity.checkArgs(['--url-prefix', '/x']) ?? '', /must not set --url-prefix/);
    assert.ok(infinity.ownsVariable('INFINITY_API_KEY'));
    assert.ok(!infinity.ownsVariable('INFINITY_DTYPE'));
  });

  it('counts inferences, not the questions about its health', () => {
    const text = [
      'http_requests_total{handler="/embeddings",method="POST",status="2xx"} 5.0',
      'http_requests_total{handler="/rerank",method="POST",status="5xx"} 1.0',
      'http_requests_total{handler="/health",method="GET",status="2xx"} 900.0',
      'http_request_duration_seconds_count{handler="/embeddings",method="POST"} 6.0',
      'http_request_duration_seconds_sum{handler="/embeddings",method="POST"} 1.5',
      'http_request_duration_seconds_count{handler="/health",method="GET"} 900.0',
      'http_request_duration_seconds_sum{handler="/health",method="GET"} 2.0',
    ].join('\n');
    const { values, times } = readMetrics(text, infinity.metrics ?? {});
    assert.deepEqual(values, { successes: 5, failures: 1 });
    assert.deepEqual(times.requestLatency, { count: 6, sum: 1.5, buckets: [] });
  });
});
