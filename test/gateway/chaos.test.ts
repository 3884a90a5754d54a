import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import fc from 'fast-check';
import { removeRoute, startDraining } from '../../store/routes.ts';
import { freePort } from '../support/ports.ts';
import { open } from './client.ts';
import { startUpstream } from './upstream.ts';
import { comesToRest, createWorld, type RunningGateway, type World } from './world.ts';

/** What a client does, how the engine behaves, and when (in ms) the client leaves, if it does. */
const request = fc.record({
  path: fc.constantFrom('/ok', '/stream', '/slow', '/die', '/half', '/sse-half'),
  bodyBytes: fc.constantFrom(0, 0, 10, 5000, 250_000),
  leaveAfterMs: fc.option(fc.integer({ min: 0, max: 40 }), { freq: 2 }),
  delayMs: fc.integer({ min: 0, max: 60 }),
});

describe('gateway: chaos', () => {
  let world: World;
  let gateway: RunningGateway;
  before(async () => {
    world = await createWorld();
    gateway = await world.startGateway({ config: { holdSeconds: 1 } });
  });
  after(() => world.close());

  it('has nothing in hand after any mixture of aborts, deaths, refusals and drains, and one answer per request', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 20, maxLength: 60 }),
        fc.boolean(),
        async (requests, drains) => {
          const engines = await Promise.all([startUpstream(behave), startUpstream(behave)]);
          const endpoint = await world.addEndpoint();
          const ids = [];
          for (const engine of engines) ids.push(await world.addReplica(endpoint, engine.address));
          await world.addReplica(endpoint, `127.0.0.1:${await freePort()}`);
          let lowest = 0;
          const watch = setInterval(() => {
            const { pending, inFlight, held } = gateway.stats();
            lowest = Math.min(lowest, pending, inFlight, held);
          }, 1);
          const outcomes = requests.map((r) => play(gateway.port, endpoint.path, r));
          if (drains && ids[0]) {
            await startDraining(world.db.store, ids[0]);
            await removeRoute(world.db.store, ids[0]);
          }
          const answers = await Promise.all(outcomes);
          await comesToRest(gateway);
          clearInterval(watch);
          for (const engine of engines) await engine.close();
          assert.equal(lowest, 0);
          assert.ok(answers.every((count) => count <= 1));
        },
      ),
      { numRuns: 8 },
    );
  });
});

function behave(req: { url?: string | undefined }, res: ServerResponse): void {
  const later = (ms: number, then: () => void) => setTimeout(() => res.destroyed || then(), ms);
  if (req.url === '/ok') res.end('ok');
  else if (req.url === '/slow') later(30, () => res.end('slow'));
  else if (req.url === '/die') res.destroy();
  else {
    const sse = req.url !== '/half';
    res.writeHead(200, { 'content-type': sse ? 'text/event-stream' : 'text/plain' }).write('data: 1\n\n');
    later(10, () => (req.url === '/stream' ? res.end('data: 2\n\n') : res.destroy()));
  }
}

/** Plays one request to its end, good or bad; returns how many responses came. */
async function play(
  port: number,
  path: string,
  {
    path: rest,
    bodyBytes,
    leaveAfterMs,
    delayMs,
  }: { path: string; bodyBytes: number; leaveAfterMs: number | null; delayMs: number },
): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  let responses = 0;
  const { req } = open(port, `${path}${rest}`, bodyBytes ? { body: 'b'.repeat(bodyBytes) } : {});
  if (leaveAfterMs !== null) setTimeout(() => req.destroy(), leaveAfterMs);
  await new Promise<void>((resolve) => {
    req.on('response', (response) => {
      responses += 1;
      response.on('error', () => undefined);
      response.resume();
    });
    req.on('close', resolve);
  });
  return responses;
}
