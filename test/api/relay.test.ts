import assert from 'node:assert/strict';
import { createRelay } from '../../api/control/relay.ts';
import { loadTemporalConfig } from '../../runtime/config.ts';
import { temporalClient } from '../../runtime/temporal.ts';
import { openStore } from '../../store/database.ts';
import { createNotifier } from '../../workflows/start.ts';
import { eventually } from '../support/eventually.ts';
import { needs } from '../support/needs.ts';
import { freePort } from '../support/ports.ts';
import { sharedTemporal, type TestTemporal } from '../support/temporal.ts';
import { createBody, RecordingNotifier, silent, type TestApi, testApi } from './support.ts';

describe('api: telling workflows', () => {
  describe('the relay', () => {
    let api: TestApi;
    let notify: RecordingNotifier;
    beforeEach(async () => {
      api = await testApi();
      notify = new RecordingNotifier();
    });
    afterEach(() => api.close());

    const relayOf = (store = api.store) => createRelay({ store, notify, log: silent });
    /** An endpoint whose last write is so many milliseconds old. */
    const made = async (name: string, ageMs: number) => {
      await api.call('POST', '/v2/endpoint/alice', createBody(name));
      await api.store
        .updateTable('endpoints')
        .set({ updated_at: new Date(Date.now() - ageMs) })
        .where('name', '=', name)
        .execute();
    };
    const observe = (name: string) =>
      api.store
        .updateTable('endpoints')
        .set({ observed_generation: 1, state: 'running' })
        .where('name', '=', name)
        .execute();

    it('tells again of a write that nobody has seen, and leaves the others alone', async () => {
      await made('lost', 5000);
      await made('seen', 5000);
      await observe('seen');
      await made('fresh', 0);
      assert.equal(await relayOf().tick(), 1);
      assert.deepEqual(notify.told, ['alice/lost wake']);
    });

    it('repeats the same write at growing distances, a new one at once', async () => {
      await made('stuck', 5000);
      const relay = relayOf();
      const start = Date.now();
      const toldAt: number[] = [];
      for (let ms = 0; ms < 130_000; ms += 2000) if (await relay.tick(start + ms)) toldAt.push(ms);
      assert.deepEqual(toldAt, [0, 4000, 12_000, 28_000, 60_000, 120_000]);
      await api.store.updateTable('endpoints').set({ generation: 2 }).where('name', '=', 'stuck').execute();
      assert.equal(await relay.tick(start + 130_000), 1);
    });

    it('goes on when Temporal is back', async () => {
      await made('waiting', 5000);
      const relay = relayOf();
      notify.down = true;
      assert.equal(await relay.tick(), 0);
      notify.down = false;
      assert.equal(await relay.tick(Date.now() + 5000), 1);
    });

    it('is done by one API process at a time', async () => {
      await made('once', 5000);
      const other = openStore(api.db.url);
      let release = () => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      let telling = false;
      const slow = createRelay({
        store: other,
        notify: {
          endpointChanged: () => {
            telling = true;
            return held;
          },
          hostJoined: async () => {},
        },
        log: silent,
      });
      const first = slow.tick();
      await eventually('the first holds the lock', () => telling);
      assert.equal(await relayOf().tick(), 0);
      assert.deepEqual(notify.told, []);
      release();
      assert.equal(await first, 1);
      await other.destroy();
    });

    it('takes in its turn what a row that cannot be told of would hold up', async () => {
      await made('poison', 9000);
      await made('healthy', 5000);
      const told: string[] = [];
      const relay = createRelay({
        store: api.store,
        notify: {
          endpointChanged: async ({ name }) => {
            if (name === 'poison') throw new Error('search attribute is not defined');
            told.push(name);
          },
          hostJoined: async () => {},
        },
        log: silent,
      });
      await relay.tick();
      await relay.tick();
      assert.deepEqual(told, ['healthy']);
    });
  });

  describe('with a Temporal server', () => {
    let temporal: TestTemporal;
    before(async function () {
      needs(this, 'TEMPORAL_CLI_PATH');
      temporal = await sharedTemporal();
    });

    it('starts the workflow of an endpoint once, with a summary and attributes, and signals it after', async () => {
      const notify = createNotifier(temporal.client, {
        ...temporal.config,
        taskQueues: { control: 'nobody-polls' },
      });
      const endpoint = { namespace: 'alice', name: 'api-notify' };
      await notify.endpointChanged(endpoint);
      await notify.endpointChanged(endpoint, { wake: true });
      const handle = temporal.client.workflow.getHandle('endpoint/alice/api-notify');
      try {
        const { events } = await handle.fetchHistory();
        const signals = events?.flatMap(
          (event) => event.workflowExecutionSignaledEventAttributes?.signalName ?? [],
        );
        assert.deepEqual(signals, ['specChanged', 'wake', 'specChanged']);
        const description = await handle.describe();
        assert.equal(description.type, 'endpoint');
        assert.equal(await description.staticSummary(), 'endpoint alice/api-notify');
        assert.deepEqual(
          description.typedSearchAttributes
            .getAll()
            .map(({ key, value }) => [key.name, value])
            .filter(([name]) => String(name).startsWith('Endpoint'))
            .sort(),
          [
            ['EndpointName', 'api-notify'],
            ['EndpointNamespace', 'alice'],
          ],
        );
      } finally {
        await handle.terminate();
      }
    });

    it('starts the workflow of a host that joined', async () => {
      const notify = createNotifier(temporal.client, {
        ...temporal.config,
        taskQueues: { control: 'nobody-polls' },
      });
      await notify.hostJoined({ hostId: 'api-h1' });
      const handle = temporal.client.workflow.getHandle('host/api-h1');
      assert.equal((await handle.describe()).type, 'host');
      await handle.terminate();
    });
  });

  it('gives up on a Temporal server that is not there', async () => {
    const config = { ...loadTemporalConfig({}), address: `127.0.0.1:${await freePort()}` };
    const client = temporalClient(config, {});
    const notify = createNotifier(client, config);
    const start = Date.now();
    await assert.rejects(notify.endpointChanged({ namespace: 'a', name: 'b' }));
    assert.ok(Date.now() - start < 15_000);
    await client.connection.close();
  });
});
