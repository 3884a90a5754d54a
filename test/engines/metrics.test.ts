import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { ENGINES, engineNamed } from '../../engines/index.ts';
import { readSamples } from '../../engines/metrics/exposition.ts';
import { readMetrics } from '../../engines/metrics/map.ts';
import { engineMetrics } from '../../spec/metrics.ts';

/** `fixtures/metrics/<engine>.txt`: what the engine writes, and what it means under our names. */
const READ: Record<string, { values: object; times: Record<string, [count: number, sum: number]> }> = {
  sglang: {
    values: {
      running: 162,
      waiting: 2826,
      kvUsage: 0.28,
      promptTokens: 8_128_902,
      generatedTokens: 7_557_572,
    },
    times: {
      ttft: [11_008, 2_351_897.9474117756],
      interTokenLatency: [7_400_757, 866_964.5791549598],
      requestLatency: [11_228, 3_116_093.850019932],
    },
  },
  tgi: {
    values: {
      running: 6,
      waiting: 4,
      promptTokens: 1480,
      generatedTokens: 925,
      successes: 37,
      failures: 3,
    },
    times: { interTokenLatency: [37, 0.851], requestLatency: [37, 21.5], queueTime: [37, 0.0041] },
  },
  tei: {
    values: { waiting: 3, promptTokens: 96, successes: 6, failures: 1 },
    times: { requestLatency: [6, 0.75], queueTime: [4, 0.002] },
  },
};

describe('metrics: engines', () => {
  for (const [name, expected] of Object.entries(READ)) {
    it(`${name}: its own text under our names`, () => {
      const text = readFileSync(join(import.meta.dirname, 'fixtures', 'metrics', `${name}.txt`), 'utf8');
      const read = readMetrics(text, engineNamed(name).metrics ?? {});
      assert.deepEqual(read.values, expected.values);
      const times = Object.entries(read.times).map(([metric, { count, sum }]) => [metric, [count, sum]]);
      assert.deepEqual(Object.fromEntries(times), expected.times);
      assert.deepEqual(engineMetrics.parse(read), read);
    });
  }

  it('TEI: methods are added up, bucket by bucket', () => {
    const text = readFileSync(join(import.meta.dirname, 'fixtures', 'metrics', 'tei.txt'), 'utf8');
    const { requestLatency } = readMetrics(text, engineNamed('tei').metrics ?? {}).times;
    assert.deepEqual(requestLatency?.buckets, [
      [0.005, 1],
      [0.1, 5],
    ]);
  });

  it('of several names the first that is there counts', () => {
    const map = { kvUsage: ['new_name', 'old_name'] };
    assert.equal(readMetrics('old_name 0.5\n', map).values.kvUsage, 0.5);
    assert.equal(readMetrics('old_name 0.5\nnew_name 0.25\n', map).values.kvUsage, 0.25);
  });

  it('counts the series that meet the conditions of their labels, and none of them as none', () => {
    const map = { failures: { name: 'http_requests', where: { status: /^5/ } } };
    const good = 'http_requests_total{handler="/v1/completions",status="2xx"} 7\n';
    assert.equal(readMetrics(good, map).values.failures, 0);
    assert.equal(readMetrics(`${good}http_requests_total{status="5xx"} 2\n`, map).values.failures, 2);
    assert.equal('failures' in readMetrics('', map).values, false);
  });

  it('of a share the fullest part counts, of numbers the sum', () => {
    const text = 'use{engine="0"} 0.2\nuse{engine="1"} 0.9\nrun{engine="0"} 1\nrun{engine="1"} 2\n';
    assert.deepEqual(readMetrics(text, { kvUsage: 'use', running: 'run' }).values, {
      kvUsage: 0.9,
      running: 3,
    });
  });

  it('whatever an engine writes, what is read can be reported', () => {
    const maps = Object.values(ENGINES).flatMap(({ metrics }) => (metrics ? [metrics] : []));
    const names = maps.flatMap((map) =>
      Object.values(map)
        .flat()
        .map((source) => (typeof source === 'string' ? source : source.name)),
    );
    const line = fc
      .tuple(
        fc.constantFrom(...names),
        fc.constantFrom('', '_total', '_bucket', '_sum', '_count'),
        fc.oneof(fc.constant(''), fc.constant('{le="0.5"}'), fc.constant('{le="+Inf"}'), fc.string()),
        fc.oneof(fc.double().map(String), fc.constantFrom('NaN', '+Inf', '-1', '1e999', ''), fc.string()),
      )
      .map(([name, ending, labels, value]) => `${name}${ending}${labels} ${value}`);
    fc.assert(
      fc.property(fc.array(fc.oneof(line, fc.string()), { maxLength: 30 }), (lines) => {
        for (const map of maps) engineMetrics.parse(readMetrics(lines.join('\n'), map));
      }),
    );
  });
});

describe('metrics: the exposition format', () => {
  const read = (text: string) =>
    readSamples(text, () => true).map(({ name, labels, value }) => [name, { ...labels }, value]);

  const lines: [string, string, unknown[]][] = [
    ['a plain number', 'up 1', [['up', {}, 1]]],
    ['colons in the name', 'vllm:num_requests 2.5e-1', [['vllm:num_requests', {}, 0.25]]],
    ['labels', 'a{b="c",d="e"} 1', [['a', { b: 'c', d: 'e' }, 1]]],
    ['a comma after the last label', 'a{b="c",} 1', [['a', { b: 'c' }, 1]]],
    ['no label between the braces', 'a{} 1', [['a', {}, 1]]],
    ['quotes, line ends and braces in a label', 'a{b="x\\"}\\n\\\\"} 1', [['a', { b: 'x"}\n\\' }, 1]]],
    ['a time stamp', 'a 1 1700000000000', [['a', {}, 1]]],
    ['an exemplar', 'a_bucket{le="1.0"} 3 # {trace_id="x"} 0.5', [['a_bucket', { le: '1.0' }, 3]]],
    [
      'the line ends of another system',
      'a 1\r\nb 2\r\n',
      [
        ['a', {}, 1],
        ['b', {}, 2],
      ],
    ],
    ['a label named like a property of objects', 'a{constructor="x"} 1', [['a', { constructor: 'x' }, 1]]],
    ['comments', '# HELP a 1\n# EOF\n', []],
    ['no value', 'a\na{b="c"}\na ', []],
    ['a value that is none', 'a NaN\na +Inf\na one\na 0x\na ""', []],
    ['an open label', 'a{b="c} 1\na{b=c} 1\na{b="c" 1', []],
    ['a name that is none', '1a 1\n-a 1\n{} 1', []],
  ];
  for (const [what, text, expected] of lines) {
    it(what, () => assert.deepEqual(read(text), expected));
  }

  it('stops after more samples than any engine has', () => {
    assert.equal(readSamples('a 1\n'.repeat(200_000), () => true).length, 5000);
  });

  it('takes time in proportion to the text, also for one endless line', () => {
    const began = performance.now();
    for (const text of [
      `a{${'b="c",'.repeat(300_000)}`,
      `a{b="${'\\'.repeat(2_000_000)}`,
      'a'.repeat(2_000_000),
    ])
      assert.deepEqual(read(text), []);
    assert.ok(performance.now() - began < 5000);
  });
});
