import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import type { ControlDeps } from '../../activities/control/deps.ts';
import { replaceOutliers } from '../../activities/control/outliers.ts';
import { reportGateway } from '../../store/routes.ts';
import { createWorld, type World } from '../gateway/world.ts';

describe('store: replicas that fail beside others', () => {
  let world: World;
  before(async () => {
    world = await createWorld();
  });
  after(() => world.close());

  it('are told to end, with what they did, by what gateways report', async () => {
    const endpoint = await world.addEndpoint({ name: 'chat' });
    const good = await world.addReplica(endpoint, '127.0.0.1:1');
    const bad = await world.addReplica(endpoint, '127.0.0.1:2');
    const gatewayId = randomUUID();
    const told: { workflow: string; signal: string; message: string }[] = [];
    const temporal = {
      workflow: {
        getHandle: (workflow: string) => ({
          signal: async (signal: { name: string }, { message }: { message: string }) =>
            void told.push({ workflow, signal: signal.name, message }),
        }),
      },
    } as unknown as ControlDeps['temporal'];
    const deps = { store: world.db.store, temporal, log: pino({ level: 'silent' }) };
    let memory = new Map() as Awaited<ReturnType<typeof replaceOutliers>>;
    for (let second = 0; second <= 32; second += 1) {
      const answers = {
        [good]: { answers: second * 10, errors: 0, failing: false },
        [bad]: { answers: second * 3, errors: second * 3, failing: second > 0 },
      };
      await reportGateway(world.db.store, {
        gatewayId,
        version: 0,
        loads: [
          { endpointId: endpoint.id, inFlight: {}, answers, pending: 0, requests: 1, lastRequestAt: null },
        ],
      });
      memory = await replaceOutliers(deps, memory, second * 1000);
    }
    assert.equal(told.length, 1);
    assert.deepEqual(
      [told[0]?.workflow, told[0]?.signal],
      [`replica/acme/chat/${bad.split('-')[1]}`, 'containerLost'],
    );
    assert.match(told[0]?.message ?? '', /answered \d+ of \d+ requests with 5xx/);
  });
});
