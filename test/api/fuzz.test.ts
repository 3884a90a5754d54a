import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createBody, type TestApi, testApi } from './support.ts';

/** Values that fields of an endpoint are likely to trip over. */
const oddValue = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom(null, '', ' ', '\0', '\ud800', -1, 0, 1e308, 2 ** 53, 1.5, [], {}, true, 'a'.repeat(5000)),
  fc.string({ unit: 'binary' }),
);

function paths(value: unknown, at: string[] = []): string[][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [at];
  return [at, ...Object.entries(value).flatMap(([key, inner]) => paths(inner, [...at, key]))];
}

/** A copy of the body with one place replaced. */
function replaced(body: unknown, path: string[], value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const object = body as Record<string, unknown>;
  return { ...object, [key]: replaced(object[key], rest, value) };
}

describe('api: any body', () => {
  let api: TestApi;
  before(async () => {
    api = await testApi();
    await api.call('POST', '/v2/endpoint/alice', createBody('fuzzed'));
  });
  after(() => api.close());

  const neverOurFault = async (method: string, url: string, body: unknown) => {
    const answer = await api.call(method, url, undefined, {
      headers: { authorization: `Bearer ${api.token}`, 'content-type': 'application/json' },
      payload: JSON.stringify(body),
    });
    assert.ok(answer.status < 500, `${answer.status}: ${JSON.stringify(answer.body)}`);
    if (answer.status >= 400) {
      assert.equal(typeof answer.body.error, 'string');
      assert.ok(answer.body.error.length > 0);
    }
  };

  for (const [method, url] of [
    ['POST', '/v2/endpoint/alice'],
    ['PUT', '/v2/endpoint/alice/fuzzed'],
  ] as const) {
    it(`of JSON gets 2xx or 4xx from ${method} ${url}`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.jsonValue(), (body) => neverOurFault(method, url, body)),
        { numRuns: 150 },
      );
    });

    it(`that is good but for one or two places gets 2xx or 4xx from ${method} ${url}`, async () => {
      const { name: _, ...good } = createBody('n', {
        top: { tags: ['t'], route: { path: '/' }, experimentalFeatures: {}, cacheHttpResponses: false },
        scaling: { measure: { pendingRequests: 1 }, metric: 'hardwareUsage', threshold: 1 },
        model: { env: { A: '1' }, secrets: { B: '2' }, args: ['x'], command: ['y'], task: 't' },
      });
      const place = fc.constantFrom(...paths(good));
      let count = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(place, oddValue), { minLength: 1, maxLength: 2 }), (changes) => {
          let body: unknown = { ...good, name: `f${++count}` };
          for (const [path, value] of changes)
            if (paths(body).some((known) => known.join() === path.join())) body = replaced(body, path, value);
          return neverOurFault(method, url, body);
        }),
        { numRuns: 300 },
      );
    });
  }

  it('and any query or path gets 2xx or 4xx', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), async (a, b) => {
        const text = (s: string) => encodeURIComponent(s.replaceAll(/\p{Surrogate}/gu, '?'));
        const { status } = await api.call(
          'GET',
          `/v2/endpoint/alice?search=${text(a)}&cursor=${text(b)}&tags=${text(b)}`,
        );
        assert.ok(status < 500);
        const one = await api.call('GET', `/v2/endpoint/alice/${text(a)}`);
        assert.ok(one.status < 500);
        const audit = await api.call('GET', `/v2/audit-logs/alice?cursor=${text(a)}&username=${text(b)}`);
        assert.ok(audit.status < 500);
      }),
      { numRuns: 100 },
    );
  });
});
