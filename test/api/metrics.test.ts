import assert from 'node:assert/strict';
import { sql } from 'kysely';
import type { EngineMetrics } from '../../spec/metrics.ts';
import { createBody, type TestApi, testApi } from './support.ts';

const ENGINE: EngineMetrics = {
  values: { running: 2, waiting: 0, kvUsage: 0.25, promptTokens: 900, generatedTokens: 120, failures: 0 },
  times: {
    ttft: {
      count: 9,
      sum: 1.5,
      buckets: [
        [0.001, 2],
        [1, 9],
      ],
    },
  },
};

describe('api: open metrics', () => {
  let api: TestApi;
  let agent: string;
  const path = '/v2/endpoint/alice/chat/open-metrics';

  before(async () => {
    api = await testApi();
    agent = await api.tokenFor('alice', 'agent');
    await api.call('POST', '/v2/endpoint/alice', createBody('chat'));
    const { id } = await api.store.selectFrom('endpoints').select('id').executeTakeFirstOrThrow();
    await sql`
      INSERT INTO hosts (id, name, provider, vendor, region, state, address, public_key, inventory)
      VALUES ('h1', 'h1', 'docker', 'docker', 'local', 'ready', '127.0.0.1', '{}', '{}')`.execute(api.store);
    for (const [replica, number, stage] of [
      ['r1', 1, 'running'],
      ['r2', 2, 'running'],
      ['r3', 3, 'initializing'],
    ] as const)
      await sql`INSERT INTO replicas (id, endpoint_id, number, revision, stage, host_id)
        VALUES (${replica}, ${id}, ${number}, 1, ${stage}, 'h1')`.execute(api.store);
    await sql`INSERT INTO gateways (id, version) VALUES ('g', 1)`.execute(api.store);
    await sql`INSERT INTO gateway_load (gateway_id, endpoint_id, in_flight, pending, requests)
      VALUES ('g', ${id}, '{"r1": 4}', 3, 9)`.execute(api.store);
  });
  after(() => api.close());

  const report = (hostId: string, replicas: unknown) =>
    api.call(
      'POST',
      `/internal/hosts/${hostId}/engine-metrics`,
      { replicas },
      { headers: { authorization: `Bearer ${agent}` } },
    );
  const text = async () => {
    const { status, body, headers } = await api.call('GET', path);
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'application/openmetrics-text; version=1.0.0; charset=utf-8');
    return body as string;
  };

  it('shows what gateways and hosts know, and of engines nothing before they have said something', async () => {
    await api.call(
      'POST',
      '/internal/hosts/h1/usage',
      {
        replicas: [
          { replicaId: 'r1', cpuPercent: 12.5 },
          { replicaId: 'r2', cpuPercent: null, gpuPercent: 75 },
        ],
      },
      { headers: { authorization: `Bearer ${agent}` } },
    );
    assert.equal(
      await text(),
      [
        '# TYPE replicas gauge',
        '# HELP replicas Replicas by stage',
        'replicas{stage="running"} 2',
        'replicas{stage="initializing"} 1',
        '# TYPE requests_pending gauge',
        '# HELP requests_pending Requests that no replica has answered yet',
        'requests_pending 3',
        '# TYPE requests_in_flight gauge',
        '# HELP requests_in_flight Requests on a replica',
        'requests_in_flight{replica_id="r1"} 4',
        'requests_in_flight{replica_id="r2"} 0',
        'requests_in_flight{replica_id="r3"} 0',
        '# TYPE cpu_usage_percent gauge',
        '# UNIT cpu_usage_percent percent',
        '# HELP cpu_usage_percent Share of its CPUs that a replica uses',
        'cpu_usage_percent{replica_id="r1"} 12.5',
        '# TYPE gpu_usage_percent gauge',
        '# UNIT gpu_usage_percent percent',
        '# HELP gpu_usage_percent Share of the time in which the GPUs of a replica compute',
        'gpu_usage_percent{replica_id="r2"} 75',
        '# EOF',
        '',
      ].join('\n'),
    );
  });

  it("shows every engine's numbers under one set of names, told apart by replica", async () => {
    const { status } = await report('h1', [
      { replicaId: 'r1', metrics: ENGINE },
      { replicaId: 'r2', metrics: { values: { running: 1 }, times: {} } },
      { replicaId: 'nobody', metrics: ENGINE },
    ]);
    assert.equal(status, 200);
    const now = await text();
    for (const line of [
      'engine_requests_running{replica_id="r1"} 2',
      'engine_requests_running{replica_id="r2"} 1',
      'engine_requests_waiting{replica_id="r1"} 0',
      'engine_kv_cache_usage_ratio{replica_id="r1"} 0.25',
      '# TYPE engine_generated_tokens counter',
      'engine_generated_tokens_total{replica_id="r1"} 120',
      'engine_requests_failed_total{replica_id="r1"} 0',
      '# TYPE engine_time_to_first_token_seconds histogram',
      'engine_time_to_first_token_seconds_bucket{replica_id="r1",le="0.001"} 2',
      'engine_time_to_first_token_seconds_bucket{replica_id="r1",le="1.0"} 9',
      'engine_time_to_first_token_seconds_bucket{replica_id="r1",le="+Inf"} 9',
      'engine_time_to_first_token_seconds_count{replica_id="r1"} 9',
      'engine_time_to_first_token_seconds_sum{replica_id="r1"} 1.5',
    ])
      assert.ok(now.split('\n').includes(line), `${line} is not in\n${now}`);
    assert.ok(!now.includes('nobody') && !now.includes('inter_token'));
    assert.equal(now.match(/^# TYPE (\S+)/gm)?.length, new Set(now.match(/^# TYPE (\S+)/gm)).size);
    assert.ok(now.endsWith('# EOF\n'));
  });

  it('a newer report replaces the older one, of the own host only', async () => {
    await report('h1', [{ replicaId: 'r1', metrics: { values: { running: 5 }, times: {} } }]);
    await report('h2', [{ replicaId: 'r1', metrics: { values: { running: 99 }, times: {} } }]);
    const now = await text();
    assert.ok(now.includes('engine_requests_running{replica_id="r1"} 5\n'));
    assert.ok(!now.includes('time_to_first_token'));
  });

  it('what nobody has repeated for long is not shown, nor what a replica said that is over', async () => {
    await sql`UPDATE engine_metrics SET reported_at = now() - interval '2 minutes' WHERE replica_id = 'r1'`.execute(
      api.store,
    );
    await sql`UPDATE replicas SET stopped_at = now(), stage = 'stopped' WHERE id = 'r2'`.execute(api.store);
    const now = await text();
    assert.ok(!now.includes('engine_'), now);
    assert.ok(now.includes('replicas{stage="running"} 1'));
  });

  for (const [what, metrics] of [
    ['a name that is not ours', { values: { speed: 1 }, times: {} }],
    ['a number that is none', { values: { running: 'many' }, times: {} }],
    ['a negative number', { values: { running: -1 }, times: {} }],
    [
      'too many buckets',
      { values: {}, times: { ttft: { count: 1, sum: 1, buckets: Array(65).fill([1, 1]) } } },
    ],
  ] as const) {
    it(`a report with ${what} is refused`, async () => {
      assert.equal((await report('h1', [{ replicaId: 'r1', metrics }])).status, 400);
    });
  }

  it('needs a token that may read, and an endpoint', async () => {
    assert.equal((await api.call('GET', path, undefined, { headers: {} })).status, 401);
    assert.equal((await api.call('GET', '/v2/endpoint/alice/nobody/open-metrics')).status, 404);
    const asUser = await api.call('POST', '/internal/hosts/h1/engine-metrics', { replicas: [] });
    assert.equal(asUser.status, 403);
  });
});
