import assert from 'node:assert/strict';
import { createBody, type TestApi, testApi } from './support.ts';

describe('api: list', () => {
  let api: TestApi;
  const NAMES = Array.from({ length: 25 }, (_, i) => `item-${String(i).padStart(2, '0')}`);
  before(async () => {
    api = await testApi();
    for (const [i, name] of NAMES.entries()) {
      const tags = [i % 2 ? 'odd' : 'even', ...(i % 5 ? [] : ['fifth'])];
      await api.call('POST', '/v2/endpoint/acme', createBody(name, { top: { tags } }));
    }
  });
  after(() => api.close());

  const names = async (query = '') => {
    const { status, body } = await api.call('GET', `/v2/endpoint/acme${query}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body.items.map((item: { name: string }) => item.name) as string[];
  };

  it('gives everything when neither limit nor cursor is given', async () => {
    assert.deepEqual(await names(), NAMES);
    const { body } = await api.call('GET', '/v2/endpoint/acme');
    assert.equal(body.nextCursor, undefined);
  });

  it('gives pages that join to the whole, none twice', async () => {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const { body } = await api.call(
        'GET',
        `/v2/endpoint/acme?limit=10${cursor ? `&cursor=${cursor}` : ''}`,
      );
      assert.ok(body.items.length <= 10);
      seen.push(...body.items.map((item: { name: string }) => item.name));
      cursor = body.nextCursor;
    } while (cursor);
    assert.deepEqual(seen, NAMES);
  });

  it('has no next page when the last page is exactly full', async () => {
    const { body } = await api.call('GET', '/v2/endpoint/acme?limit=25');
    assert.equal(body.items.length, 25);
    assert.equal(body.nextCursor, undefined);
  });

  it('filters by every tag given and by a part of the name', async () => {
    assert.deepEqual(await names('?tags=even,fifth'), ['item-00', 'item-10', 'item-20']);
    assert.deepEqual(await names('?search=M-1'), NAMES.slice(10, 20));
    assert.deepEqual(await names('?search=%25'), []);
    assert.deepEqual(await names('?tags=none'), []);
  });

  it('keeps the endpoints of one namespace out of the list of another', async () => {
    const { body } = await api.call('GET', '/v2/endpoint/alice');
    assert.deepEqual(body.items, []);
  });

  for (const [query, field] of [
    ['limit=0', 'limit'],
    ['limit=101', 'limit'],
    ['limit=ten', 'limit'],
    ['cursor=%21%21', 'cursor'],
    ['search=%00', 'search'],
  ] as const) {
    it(`refuses ${query}, naming ${field}`, async () => {
      const { status, body } = await api.call('GET', `/v2/endpoint/acme?${query}`);
      assert.equal(status, 400);
      assert.ok(body.error.startsWith(`${field}:`), body.error);
    });
  }

  it('pages the audit log, newest first', async () => {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const { status, body } = await api.call(
        'GET',
        `/v2/audit-logs/acme?limit=7${cursor ? `&cursor=${cursor}` : ''}`,
      );
      assert.equal(status, 200);
      seen.push(...body.list.map((entry: { endpoint: { name: string } }) => entry.endpoint.name));
      cursor = body.next_cursor;
    } while (cursor);
    assert.deepEqual(seen, NAMES.toReversed());
  });

  it('filters the audit log by endpoint and by user', async () => {
    const of = async (query: string) => (await api.call('GET', `/v2/audit-logs/acme?${query}`)).body.list;
    assert.equal((await of('endpoint=item-03')).length, 1);
    assert.equal((await of('endpoint=item-03&username=bob')).length, 0);
    assert.equal((await of('username=alice&limit=100')).length, 25);
  });
});
