import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import type { ControlDeps } from '../../activities/control/deps.ts';
import { endpointActivities } from '../../activities/control/endpoints.ts';
import { scheduleActivities } from '../../activities/control/schedules.ts';
import { loadPlatformConfig } from '../../runtime/config.ts';
import { dropSchedule, putSchedule, repairSchedules } from '../../runtime/schedules.ts';
import { type CompleteCreate, endpointCreate } from '../../spec/endpoint.ts';
import { normalizeCreate } from '../../spec/normalize.ts';
import { scheduleId } from '../../spec/schedule.ts';
import type { Actor } from '../../store/audit.ts';
import { changeEndpoint, createEndpoint } from '../../store/endpoint-writes.ts';
import { ensureUser } from '../../store/namespaces.ts';
import { allSchedules, createSchedule } from '../../store/schedules.ts';
import { Vault } from '../../store/secrets.ts';
import { createBody } from '../api/support.ts';
import { eventually } from '../support/eventually.ts';
import { needs } from '../support/needs.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { sharedTemporal } from '../support/temporal.ts';
import { openStage } from './stage.ts';
import { World } from './world.ts';

describe('workflows: scheduled scaling', () => {
  let db: TestDatabase;
  let actor: Actor;
  const vault = new Vault(randomBytes(32));
  const config = loadPlatformConfig({});
  before(async function () {
    needs(this, 'TEMPORAL_CLI_PATH');
    this.timeout(120_000);
    db = await testDatabase();
    const { id: userId } = await ensureUser(db.store, 'ns');
    actor = { userId, userName: 'ns', tokenId: null, ip: null, userAgent: null, requestId: null };
  });
  after(() => db?.drop());

  const made = async (name: string) => {
    const body = createBody(name, { scaling: { minReplica: 1, maxReplica: 3 } });
    const wish = normalizeCreate(endpointCreate.parse(body) as CompleteCreate, config.vendors);
    await createEndpoint(db.store, vault, { namespace: 'ns', name, wish, weights: null, actor });
    const { id } = await db.store
      .selectFrom('endpoints')
      .select('id')
      .where('name', '=', name)
      .executeTakeFirstOrThrow();
    return { namespace: 'ns', name, id };
  };
  const rule = (name: string, cron: string, over: object = {}) => ({
    ...{ name, cron, timeZone: 'UTC', minReplica: 2, maxReplica: 3, scaleToZeroTimeout: null, enabled: true },
    ...over,
  });

  it('a schedule that fires changes how many replicas run, and starts none anew', async () => {
    const name = `s${randomUUID().slice(0, 8)}`;
    const { client } = await sharedTemporal();
    const endpoint = await made(name);
    const world = new World({ endpointId: endpoint.id });
    const deps = { store: db.store, vault, config, temporal: client } as unknown as ControlDeps;
    const stage = await openStage(world, name, {
      ...endpointActivities(deps),
      ...scheduleActivities(deps),
    });
    try {
      await stage.tell();
      await eventually('one runs', () => world.routes.size === 1, { timeoutMs: 60_000 });
      await createSchedule(db.store, { ...endpoint, actor }, rule('minutely', '* * * * *'));
      const [stored] = await allSchedules(db.store);
      assert.ok(stored);
      await putSchedule(client, stage.taskQueue, stored);
      const schedule = client.schedule.getHandle(scheduleId(endpoint.id, 'minutely'));
      const [next] = (await schedule.describe()).info.nextActionTimes;
      assert.ok(next && next.getTime() % 60_000 === 0 && next.getTime() - Date.now() <= 60_000, String(next));
      // As it would by itself then.
      await schedule.trigger();
      await eventually('two run', () => world.routes.size === 2, { timeoutMs: 60_000 });
      assert.equal(world.calls.includes('drain'), false);
      assert.equal(world.stages.size, 2);
      const where = { namespace: 'ns', name, actor };
      await changeEndpoint(db.store, vault, where, () => ({ action: 'x', message: '', phase: 'deleted' }));
      await stage.tell();
      await stage.handle.result();
      await assert.rejects(schedule.describe(), { name: 'ScheduleNotFoundError' });
    } finally {
      await dropSchedule(client, endpoint.id, 'minutely');
      await stage.close();
    }
  });

  it("fires by the clock of the rule's time zone, on days that match both fields", async () => {
    const { client } = await sharedTemporal();
    const endpointId = randomUUID();
    const wanted = {
      ...rule('berlin', '30 8 1-7 * mon', { timeZone: 'Europe/Berlin' }),
      endpointId,
      version: 1,
    };
    await putSchedule(client, 'nobody-polls', wanted);
    const { info } = await client.schedule.getHandle(scheduleId(endpointId, 'berlin')).describe();
    assert.ok(info.nextActionTimes.length > 3);
    for (const at of info.nextActionTimes) {
      const berlin = at.toLocaleString('en-GB', {
        timeZone: 'Europe/Berlin',
        weekday: 'short',
        hour: '2-digit',
        minute: '2-digit',
        day: '2-digit',
      });
      assert.match(berlin, /^Mon,? 0[1-7],? (?:at )?08:30$/, berlin);
    }
    await dropSchedule(client, endpointId, 'berlin');
  });

  it('is repaired: what Temporal lost, what is outdated, what is gone from the store', async () => {
    const { client } = await sharedTemporal();
    const endpointId = randomUUID();
    const of = (name: string, version = 1, over = {}) => ({
      ...rule(name, '0 8 * * *', over),
      endpointId,
      version,
    });
    await putSchedule(client, 'q', of('outdated'));
    await putSchedule(client, 'q', of('orphan'));
    const wanted = [of('lost'), of('outdated', 2, { cron: '15 9 * * *', enabled: false })];
    const describe = (name: string) => client.schedule.getHandle(scheduleId(endpointId, name)).describe();
    // The list of schedules follows their making after a moment.
    await eventually('repaired', async () => {
      await repairSchedules(client, 'q', async () => wanted);
      const [lost, outdated] = await Promise.all([describe('lost'), describe('outdated')]);
      const gone = await describe('orphan').catch((error: Error) => error.name);
      return lost && outdated.state.paused && gone === 'ScheduleNotFoundError';
    });
    const [nine] = (await describe('outdated')).spec.calendars ?? [];
    assert.deepEqual(
      [nine?.hour, nine?.minute],
      [[{ start: 9, end: 9, step: 1 }], [{ start: 15, end: 15, step: 1 }]],
    );
    await eventually('nothing left to repair', async () => {
      const { put, removed } = await repairSchedules(client, 'q', async () => wanted);
      return put === 0 && removed === 0;
    });
    for (const { name } of wanted) await dropSchedule(client, endpointId, name);
  });
});
