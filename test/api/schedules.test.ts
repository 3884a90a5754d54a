import assert from 'node:assert/strict';
import { fireSchedule } from '../../store/schedule-firing.ts';
import { createBody, type TestApi, testApi } from './support.ts';

describe('api: scheduled scaling', () => {
  let api: TestApi;
  let count = 0;
  before(async () => {
    api = await testApi();
  });
  after(() => api.close());

  const made = async (scaling: Record<string, unknown> = {}) => {
    const name = `sched-${++count}`;
    await api.call(
      'POST',
      '/v2/endpoint/alice',
      createBody(name, { scaling: { maxReplica: 3, ...scaling } }),
    );
    api.schedules.told.length = 0;
    return { name, url: `/v2/endpoint/alice/${name}/schedules` };
  };
  const row = (name: string) =>
    api.store.selectFrom('endpoints').selectAll().where('name', '=', name).executeTakeFirstOrThrow();
  const RULE = {
    name: 'day',
    cron: '0 8 * * mon-fri',
    timeZone: 'Europe/Berlin',
    minReplica: 2,
    maxReplica: 5,
  };
  const T = (hour: number) => new Date(Date.UTC(2026, 10, 2, hour));
  const fire = async (name: string, schedule: string, at: Date) =>
    fireSchedule(api.store, api.vault, { endpointId: (await row(name)).id, schedule, at });
  const audit = async (name: string) =>
    (await api.call('GET', `/v2/audit-logs/alice?endpoint=${name}`)).body.list;

  it('keeps rules, tells Temporal of each change, and writes down who made it', async () => {
    const { name, url } = await made();
    const created = await api.call('POST', url, RULE);
    assert.equal(created.status, 200, JSON.stringify(created.body));
    const { createdAt, updatedAt, ...rule } = created.body;
    assert.deepEqual(rule, { ...RULE, scaleToZeroTimeout: null, enabled: true, lastFiredAt: null });
    assert.ok(createdAt && updatedAt);
    const changed = await api.call('PUT', `${url}/day`, { maxReplica: 6, enabled: false });
    assert.deepEqual([changed.body.maxReplica, changed.body.enabled, changed.body.minReplica], [6, false, 2]);
    assert.equal((await api.call('PUT', `${url}/day`, { maxReplica: 6 })).status, 200);
    assert.deepEqual((await api.call('GET', url)).body.items.length, 1);
    assert.deepEqual((await api.call('GET', `${url}/day`)).body, changed.body);
    assert.deepEqual((await api.call('DELETE', `${url}/day`)).body, {});
    assert.deepEqual((await api.call('GET', url)).body, { items: [] });
    assert.deepEqual(api.schedules.told, ['day 1', 'day 2', 'day 2', 'day gone']);
    const entries = (await audit(name)).slice(0, 3);
    assert.deepEqual(
      entries.map((e: { action: string; user: { name: string } }) => [e.action, e.user.name]),
      [
        ['schedule.delete', 'alice'],
        ['schedule.update', 'alice'],
        ['schedule.create', 'alice'],
      ],
    );
    assert.match(entries[2].message, /2 to 5 replicas at '0 8 \* \* mon-fri' Europe\/Berlin/);
    assert.equal((await row(name)).generation, 1);
  });

  const bad: [string, Record<string, unknown>, RegExp][] = [
    ['a bad cron expression', { cron: '0 25 * * *' }, /^cron: hour: 25 is not within 0 to 23/],
    ['an unknown time zone', { timeZone: 'Mars/Base' }, /^timeZone: unknown time zone.*Europe\/Berlin/],
    ['a minimum above the maximum', { minReplica: 6 }, /^minReplica: 6 is above maxReplica 5/],
    ['a maximum of none', { minReplica: 0, maxReplica: 0 }, /^maxReplica: /],
    [
      'a sleep timeout it may not have',
      { scaleToZeroTimeout: 5 },
      /^scaleToZeroTimeout: 5 needs minReplica 0/,
    ],
    ['a bad name', { name: 'Day!' }, /^name: /],
  ];
  for (const [what, change, why] of bad)
    it(`refuses ${what}`, async () => {
      const { url } = await made();
      const { status, body } = await api.call('POST', url, { ...RULE, ...change });
      assert.equal(status, 400);
      assert.match(body.error, why);
      assert.deepEqual(api.schedules.told, []);
    });

  it('refuses a change that contradicts what is stored', async () => {
    const { url } = await made();
    await api.call('POST', url, RULE);
    const { status, body } = await api.call('PUT', `${url}/day`, { maxReplica: 1 });
    assert.deepEqual([status, body.error], [400, 'minReplica: 2 is above maxReplica 1']);
  });

  it('knows what is taken and what is not there', async () => {
    const { url } = await made();
    await api.call('POST', url, RULE);
    assert.equal((await api.call('POST', url, RULE)).status, 409);
    for (const method of ['GET', 'PUT', 'DELETE'])
      assert.equal((await api.call(method, `${url}/night`, method === 'PUT' ? {} : undefined)).status, 404);
    assert.equal((await api.call('GET', '/v2/endpoint/alice/none/schedules')).status, 404);
  });

  it('is closed to who may only read, and to others', async () => {
    const { url } = await made();
    const as = async (user: string, role: 'read' | 'write') => ({
      headers: { authorization: `Bearer ${await api.tokenFor(user, role)}` },
    });
    assert.equal((await api.call('POST', url, RULE, await as('alice', 'read'))).status, 403);
    assert.equal((await api.call('GET', url, undefined, await as('alice', 'read'))).status, 200);
    assert.equal((await api.call('GET', url, undefined, await as('bob', 'write'))).status, 403);
  });

  it('takes rules while Temporal is away', async () => {
    const { url } = await made();
    api.schedules.down = true;
    assert.equal((await api.call('POST', url, RULE)).status, 200);
    api.schedules.down = false;
  });

  describe('a firing', () => {
    it("changes the bounds as a write does, starts no new version, and is in the audit log by the schedule's name", async () => {
      const { name, url } = await made();
      await api.call('POST', url, RULE);
      assert.deepEqual(await fire(name, 'day', T(8)), { namespace: 'alice', name, wake: false });
      const stored = await row(name);
      assert.deepEqual([stored.generation, stored.revision], [2, 1]);
      const { minReplica, maxReplica } = stored.spec.compute.scaling;
      assert.deepEqual([minReplica, maxReplica], [2, 5]);
      const [entry] = await audit(name);
      assert.deepEqual([entry.action, entry.user.name], ['endpoint.update', 'schedule day']);
      assert.deepEqual(
        entry.changes.map((c: { path: string }) => c.path),
        ['compute.scaling.maxReplica', 'compute.scaling.minReplica'],
      );
      assert.equal((await api.call('GET', `${url}/day`)).body.lastFiredAt, T(8).toISOString());
    });

    it('done twice, changes once', async () => {
      const { name, url } = await made();
      await api.call('POST', url, RULE);
      await fire(name, 'day', T(8));
      assert.equal(await fire(name, 'day', T(8)), null);
      assert.equal((await row(name)).generation, 2);
    });

    it('that is made up for after a later one does nothing', async () => {
      const { name, url } = await made();
      await api.call('POST', url, RULE);
      await api.call('POST', url, {
        ...RULE,
        name: 'night',
        minReplica: 0,
        maxReplica: 1,
        scaleToZeroTimeout: 7,
      });
      await fire(name, 'night', T(20));
      assert.equal(await fire(name, 'day', T(8)), null);
      assert.deepEqual((await row(name)).spec.compute.scaling, {
        ...(await row(name)).spec.compute.scaling,
        minReplica: 0,
        maxReplica: 1,
        scaleToZeroTimeout: 7,
      });
      assert.notEqual(await fire(name, 'day', T(32)), null);
    });

    it('of two rules at one moment ends with the one named last', async () => {
      const { name, url } = await made();
      await api.call('POST', url, { ...RULE, name: 'a', minReplica: 1 });
      await api.call('POST', url, { ...RULE, name: 'b', minReplica: 3 });
      await fire(name, 'b', T(8));
      await fire(name, 'a', T(8));
      assert.equal((await row(name)).spec.compute.scaling.minReplica, 3);
    });

    it('wakes an endpoint that sleeps where its minimum rises, and leaves a paused one paused', async () => {
      const { name, url } = await made({ minReplica: 0 });
      await api.call('POST', url, RULE);
      await api.store
        .updateTable('endpoints')
        .set({ state: 'scaledToZero' })
        .where('name', '=', name)
        .execute();
      assert.deepEqual(await fire(name, 'day', T(8)), { namespace: 'alice', name, wake: true });
      assert.deepEqual([(await row(name)).state, (await row(name)).target_replica], ['pending', 2]);
      await api.call('POST', `/v2/endpoint/alice/${name}/pause`);
      await api.call('PUT', `${url}/day`, { minReplica: 3 });
      assert.deepEqual(await fire(name, 'day', T(32)), { namespace: 'alice', name, wake: false });
      const stored = await row(name);
      assert.deepEqual([stored.phase, stored.state, stored.target_replica], ['paused', 'paused', 0]);
      assert.equal(stored.spec.compute.scaling.minReplica, 3);
    });

    it('of a rule that is off or gone, or of an endpoint that is being deleted, does nothing', async () => {
      const { name, url } = await made();
      await api.call('POST', url, { ...RULE, enabled: false });
      assert.equal(await fire(name, 'day', T(8)), null);
      assert.equal(await fire(name, 'gone', T(8)), null);
      await api.call('PUT', `${url}/day`, { enabled: true });
      await api.call('DELETE', `/v2/endpoint/alice/${name}`);
      assert.equal(await fire(name, 'day', T(8)), null);
      const nobody = '00000000-0000-4000-8000-000000000000';
      assert.equal(
        await fireSchedule(api.store, api.vault, { endpointId: nobody, schedule: 'day', at: T(8) }),
        null,
      );
    });
  });
});
