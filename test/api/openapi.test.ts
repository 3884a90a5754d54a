import assert from 'node:assert/strict';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { createBody, MODEL, type TestApi, testApi } from './support.ts';

interface Operation {
  operationId: string;
  parameters?: { in: string; name: string; required?: boolean; schema: object }[];
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>;
}
interface Description {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; securitySchemes: Record<string, object> };
}

describe('api: description', () => {
  let api: TestApi;
  let description: Description;
  before(async () => {
    api = await testApi();
    description = (await api.call('GET', '/openapi.json', undefined, { headers: {} })).body;
  });
  after(() => api.close());

  const operations = () =>
    Object.entries(description.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
    );

  /** A validator of the schema at this place of the document, references and all. */
  const validator = (pointer: string): ValidateFunction => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema({ $id: 'doc', ...description });
    const validate = ajv.getSchema(`doc#${pointer}`);
    assert.ok(validate, pointer);
    return validate;
  };
  const pointerPart = (path: string) => encodeURIComponent(path.replaceAll('~', '~0').replaceAll('/', '~1'));

  it('is OpenAPI 3.1, at both addresses, without a token', async () => {
    assert.match(description.openapi, /^3\.1\./);
    assert.ok(description.info.title && description.info.version);
    const old = await api.call('GET', '/api-doc/openapi.json', undefined, { headers: {} });
    assert.deepEqual(old.body, description);
  });

  it('names every core path of the public API', () => {
    const known = operations().map(({ path, method }) => `${method.toUpperCase()} ${path}`);
    for (const route of [
      'GET /v2/endpoint/{namespace}',
      'POST /v2/endpoint/{namespace}',
      'GET /v2/endpoint/{namespace}/{name}',
      'PUT /v2/endpoint/{namespace}/{name}',
      'DELETE /v2/endpoint/{namespace}/{name}',
      'POST /v2/endpoint/{namespace}/{name}/pause',
      'POST /v2/endpoint/{namespace}/{name}/resume',
      'POST /v2/endpoint/{namespace}/{name}/scale-to-zero',
      'GET /v2/endpoint/{namespace}/{name}/replica',
      'GET /v2/endpoint/{namespace}/{name}/open-metrics',
      'GET /v2/endpoint/{namespace}/{name}/usage',
      'GET /v2/provider',
      'GET /v2/provider/{namespace}',
      'GET /v2/audit-logs/{namespace}',
      'GET /api/whoami-v2',
    ])
      assert.ok(known.includes(route), route);
    assert.ok(!known.some((route) => route.includes('/internal/')));
  });

  it('declares every path parameter, and gives every operation an id of its own and described answers', () => {
    const ids = operations().map(({ operation }) => operation.operationId);
    assert.equal(new Set(ids).size, ids.length);
    for (const { path, operation } of operations()) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      const declared = (operation.parameters ?? []).filter((p) => p.in === 'path');
      assert.deepEqual(declared.map((p) => p.name).sort(), inPath.sort(), path);
      assert.ok(declared.every((p) => p.required));
      assert.ok(operation.responses['200']?.description);
    }
  });

  it('refers only to schemas it has, has none it does not refer to, and all of them compile', () => {
    const refs = [...JSON.stringify(description).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)];
    const names = Object.keys(description.components.schemas).sort();
    assert.deepEqual([...new Set(refs.map((ref) => ref[1]))].sort(), names);
    assert.ok(names.includes('Endpoint') && names.includes('EndpointWithStatus'));
    for (const name of names) validator(`/components/schemas/${name}`);
  });

  it('describes what the API takes and answers', async () => {
    const body = createBody('described');
    const takes = validator('/components/schemas/Endpoint');
    assert.ok(takes(body), JSON.stringify(takes.errors));
    assert.ok(!takes({ ...body, type: 'protected' }));

    const rule = { name: 'day', cron: '0 8 * * *', minReplica: 0, maxReplica: 2 };
    const calls: [method: string, path: string, url: string, payload?: unknown][] = [
      ['post', '/v2/endpoint/{namespace}', '/v2/endpoint/alice', body],
      ['post', '/v2/endpoint/{namespace}', '/v2/endpoint/alice', body],
      ['post', '/v2/endpoint/{namespace}', '/v2/endpoint/alice', { ...body, type: 'protected' }],
      ['post', '/v2/endpoint/{namespace}', '/v2/endpoint/alice?dryRun=true', { ...body, name: 'planned' }],
      ['post', '/v2/recommend/{namespace}', '/v2/recommend/alice', { model: { repository: MODEL } }],
      ['get', '/v2/endpoint/{namespace}', '/v2/endpoint/alice'],
      ['get', '/v2/endpoint/{namespace}', '/v2/endpoint/bob'],
      ['get', '/v2/endpoint/{namespace}/{name}', '/v2/endpoint/alice/described'],
      ['get', '/v2/endpoint/{namespace}/{name}', '/v2/endpoint/alice/none'],
      ['put', '/v2/endpoint/{namespace}/{name}', '/v2/endpoint/alice/described', { tags: ['x'] }],
      ['put', '/v2/endpoint/{namespace}/{name}', '/v2/endpoint/alice/described?dryRun=true', { tags: ['y'] }],
      ['post', '/v2/endpoint/{namespace}/{name}/pause', '/v2/endpoint/alice/described/pause'],
      ['post', '/v2/endpoint/{namespace}/{name}/scale-to-zero', '/v2/endpoint/alice/described/scale-to-zero'],
      ['post', '/v2/endpoint/{namespace}/{name}/resume', '/v2/endpoint/alice/described/resume'],
      ['get', '/v2/endpoint/{namespace}/{name}/replica', '/v2/endpoint/alice/described/replica'],
      ['get', '/v2/endpoint/{namespace}/{name}/open-metrics', '/v2/endpoint/alice/described/open-metrics'],
      ['post', '/v2/endpoint/{namespace}/{name}/schedules', '/v2/endpoint/alice/described/schedules', rule],
      ['get', '/v2/endpoint/{namespace}/{name}/schedules', '/v2/endpoint/alice/described/schedules'],
      ...(['get', 'put', 'delete'] as const).map((method): [string, string, string, unknown] => [
        method,
        '/v2/endpoint/{namespace}/{name}/schedules/{schedule}',
        '/v2/endpoint/alice/described/schedules/day',
        method === 'put' ? { minReplica: 1 } : undefined,
      ]),
      ...['response-status-code', 'response-elapsed', 'pending-request'].map(
        (graph): [string, string, string, object] => [
          'post',
          `/v2/endpoint/{namespace}/{name}/metrics/${graph}`,
          `/v2/endpoint/alice/described/metrics/${graph}`,
          { step: '5m' },
        ],
      ),
      ['get', '/v2/endpoint/{namespace}/{name}/usage', '/v2/endpoint/alice/described/usage'],
      ['get', '/v2/provider', '/v2/provider'],
      ['get', '/v2/provider/{namespace}', '/v2/provider/alice'],
      ['get', '/v2/audit-logs/{namespace}', '/v2/audit-logs/alice'],
      ['get', '/api/whoami-v2', '/api/whoami-v2'],
      ['get', '/api/catalog/repo-list', '/api/catalog/repo-list'],
      ['post', '/api/catalog/deploy', '/api/catalog/deploy', { namespace: 'alice', repoId: 'BAAI/bge-m3' }],
      ['get', '/api/v1/catalog/list', '/api/v1/catalog/list'],
      [
        'post',
        '/api/v1/catalog/model/{owner}/{repository}/deploy',
        '/api/v1/catalog/model/no/such/deploy',
        { namespace: 'alice' },
      ],
      [
        'post',
        '/api/v1/catalog/recipe/{publicId}/deploy',
        '/api/v1/catalog/recipe/bge-m3-tei-l4/deploy',
        { namespace: 'alice' },
      ],
      ['get', '/health', '/health'],
      ['delete', '/v2/endpoint/{namespace}/{name}', '/v2/endpoint/alice/described'],
    ];
    const seen = new Set<string>();
    for (const [method, path, url, payload] of calls) {
      const answer = await api.call(method.toUpperCase(), url, payload);
      const type = String(answer.headers['content-type']).replace(/^application\/json.*/, 'application/json');
      const place = `/paths/${pointerPart(path)}/${method}/responses/${answer.status}/content/${pointerPart(type)}/schema`;
      const validate = validator(place);
      assert.ok(
        validate(answer.body),
        `${method} ${url} ${answer.status}: ${JSON.stringify(validate.errors)}`,
      );
      seen.add(`${method} ${path}`);
    }
    assert.equal(seen.size, operations().length);
  });

  it('has a page for people, to which the root leads', async () => {
    const root = await api.call('GET', '/', undefined, { headers: {} });
    assert.equal(root.status, 302);
    assert.equal(root.headers.location, '/docs');
    const page = await api.call('GET', '/docs/', undefined, { headers: {} });
    const moved = page.status === 200 ? page : await api.call('GET', String(page.headers.location));
    assert.equal(moved.status, 200);
    assert.match(String(moved.body), /swagger/i);
  });
});
