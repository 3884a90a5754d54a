import assert from 'node:assert/strict';
import { sql } from 'kysely';
import { addCounts, boundOf, CLASSES, classOf, quantile } from '../../spec/histogram.ts';
import { reportUsage } from '../../store/usage.ts';
import { createBody, type TestApi, testApi } from './support.ts';

const MINUTE = Date.UTC(2026, 0, 1, 12, 0);

describe('api: usage', () => {
  let api: TestApi;
  let tokenId: string;
  const path = '/v2/endpoint/alice/chat';
  const span = { from: MINUTE / 1000, to: MINUTE / 1000 + 600 };

  before(async () => {
    api = await testApi();
    await api.call('POST', '/v2/endpoint/alice', createBody('chat'));
    const { id } = await api.store.selectFrom('endpoints').select('id').executeTakeFirstOrThrow();
    tokenId = (await api.store.selectFrom('tokens').select('id').executeTakeFirstOrThrow()).id;
    await sql`INSERT INTO replicas (id, endpoint_id, number, revision, stage, created_at)
      VALUES ('r1', ${id}, 1, 1, 'running', ${new Date(MINUTE)})`.execute(api.store);
    const row = (minute: number, status: number, requests: number, ms: number, token = tokenId) => ({
      endpointId: id,
      namespace: 'alice',
      endpoint: 'chat',
      minute: MINUTE + minute * 60_000,
      tokenId: token,
      replicaId: status === 503 ? '' : 'r1',
      status,
      requests,
      durationMs: requests * ms,
      durations: [...new Array<number>(classOf(ms)).fill(0), requests],
      firstByteMs: 0,
      firstBytes: [],
      requestBytes: 10,
      responseBytes: 20,
      promptTokens: 3,
      completionTokens: 4,
    });
    await reportUsage(api.store, {
      gatewayId: 'g',
      batch: 1,
      usage: [row(0, 200, 90, 100), row(0, 500, 1, 10), row(1, 200, 10, 10_000), row(1, 503, 2, 1, '')],
      load: [{ endpointId: id, minute: MINUTE, tokenId, inFlightMs: 120_000, pendingMs: 30_000 }],
    });
  });
  after(() => api.close());

  const graph = async (name: string, body: unknown) => {
    const answer = await api.call('POST', `${path}/metrics/${name}`, body);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body;
  };
  const ys = (series: { data: { y: number }[] } | undefined) => series?.data.map(({ y }) => y);

  it('shows requests by status, step by step', async () => {
    const body = await graph('response-status-code', span);
    assert.deepEqual(
      [body.start, body.stop, body.timeWindowSeconds],
      ['2026-01-01T12:00:00.000Z', '2026-01-01T12:10:00.000Z', 60],
    );
    assert.deepEqual(
      body.series.map((s: { statusCode: string }) => s.statusCode),
      ['200', '500', '503'],
    );
    assert.deepEqual(ys(body.series[0])?.slice(0, 3), [90, 10, 0]);
    assert.equal(body.series[0].data[1].x, '2026-01-01T12:01:00.000Z');
    const coarse = await graph('response-status-code', { ...span, step: '5m' });
    assert.deepEqual(coarse.series.map(ys), [
      [100, 0],
      [1, 0],
      [2, 0],
    ]);
  });

  it('shows percentiles of times, and mean numbers of waiting requests', async () => {
    const elapsed = await graph('response-elapsed', { ...span, step: 600 });
    const [p50, , , p99] = elapsed.series;
    assert.ok(p50.data[0].y > 0.07 && p50.data[0].y < 0.13, JSON.stringify(p50));
    assert.ok(p99.data[0].y > 8 && p99.data[0].y < 12, JSON.stringify(p99));
    const pending = await graph('pending-request', span);
    assert.deepEqual([ys(pending.series[0])?.[0], ys(pending.series[1])?.[0]], [0.5, 2]);
  });

  it('shows what each token used', async () => {
    const { status, body } = await api.call('GET', `${path}/usage?from=${span.from}&to=${span.to}`);
    assert.equal(status, 200);
    const [mine, nobody] = body.tokens;
    assert.deepEqual(mine.token, { id: tokenId, name: 'write', user: 'alice' });
    assert.deepEqual([mine.requests, mine.byStatus], [101, { 200: 100, 500: 1 }]);
    assert.deepEqual([mine.promptTokens, mine.completionTokens, mine.meanInFlight], [9, 12, 0.2]);
    assert.deepEqual([nobody.token, nobody.requests], [null, 2]);
  });

  it('counts answers per replica and status in the endpoint’s OpenMetrics', async () => {
    const { body } = await api.call('GET', `${path}/open-metrics`);
    assert.match(body, /^http_requests_total\{replica_id="r1",status_code="200"\} 100$/m);
    assert.match(body, /^latency_distribution\{quantile="0.5"\} 0\.\d+$/m);
    assert.match(body, /^latency_distribution_count 101$/m);
  });

  it('takes the last hour by the minute when nothing is said, and refuses what makes no sense', async () => {
    const body = await graph('response-status-code', undefined);
    assert.ok(
      Date.parse(body.stop) >= Date.now() && Date.parse(body.stop) - Date.parse(body.start) === 3_600_000,
    );
    for (const wrong of [{ from: 200, to: 100 }, { from: 0 }, { step: 'often' }, { from: 'soon' }]) {
      const answer = await api.call('POST', `${path}/metrics/pending-request`, wrong);
      assert.equal(answer.status, 400, JSON.stringify(wrong));
    }
    assert.equal((await api.call('GET', '/v2/endpoint/alice/nothing/usage')).status, 404);
  });

  it('reads a quantile from counts by class to within its class', () => {
    for (const ms of [0.5, 1, 3, 77, 1234, 59_000, 600_000]) {
      const counts = [...new Array<number>(classOf(ms)).fill(0), 7];
      const read = quantile(counts, 1) ?? 0;
      assert.ok(ms <= read && (ms <= 1 || read <= ms * 1.42), `${ms}: ${read}`);
    }
    assert.equal(classOf(1e12), CLASSES - 1);
    assert.equal(boundOf(2), 2);
    assert.equal(quantile([], 0.5), null);
    assert.deepEqual(addCounts([1], [1, 2]), [2, 2]);
  });
});
