import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { freePort } from '../support/ports.ts';
import { ask } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { comesToRest, createWorld, type RunningGateway, seesRoutes, type World } from './world.ts';

describe('gateway: retries before the first byte', () => {
  let world: World;
  let gateway: RunningGateway;
  let good: Upstream;
  before(async () => {
    world = await createWorld();
    good = await startUpstream();
    gateway = await world.startGateway();
  });
  after(async () => {
    await comesToRest(gateway);
    await world.close();
    await good.close();
  });

  async function endpointWith(...addresses: string[]) {
    const endpoint = await world.addEndpoint();
    for (const address of addresses) await world.addReplica(endpoint, address);
    await seesRoutes(world, gateway);
    return endpoint;
  }
  const closedPort = async () => `127.0.0.1:${await freePort()}`;

  it('loses no request while replicas refuse connections', async () => {
    const endpoint = await endpointWith(await closedPort(), good.address, await closedPort());
    for (let round = 0; round < 5; round++) {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => ask(gateway.port, endpoint.path, { body: '{"n":1}' })),
      );
      assert.deepEqual(new Set(answers.map((a) => a.status)), new Set([200]));
      assert.equal(JSON.parse(answers[0]?.body ?? '').body, '{"n":1}');
    }
  });

  it('sends a body that it does not keep elsewhere as long as no engine has taken any of it', async () => {
    const endpoint = await endpointWith(await closedPort(), good.address);
    const body = 'z'.repeat(300_000);
    for (let i = 0; i < 4; i++) {
      const answer = await ask(gateway.port, endpoint.path, { body });
      assert.equal(JSON.parse(answer.body).body.length, body.length);
    }
  });

  it('answers 502 at once when nobody accepts and the caller will not wait', async () => {
    const endpoint = await endpointWith(await closedPort(), await closedPort());
    const answer = await ask(gateway.port, endpoint.path, { headers: { 'x-scale-up-timeout': '0' } });
    assert.equal(answer.status, 502);
    assert.match(JSON.parse(answer.body).error, /no replica of endpoint .* accepts connections/);
  });

  it('holds a request whose only replica refuses, and sends it when the replica is back', async () => {
    const port = await freePort();
    const endpoint = await endpointWith(`127.0.0.1:${port}`);
    const asked = ask(gateway.port, endpoint.path, { body: 'again' });
    const late = await startUpstream(undefined, port);
    assert.equal((await asked).status, 200);
    await late.close();
  });

  it('repeats a request on a new connection when the engine had closed an idle one', async () => {
    const engine = await startTrap((n) => n === 1);
    const endpoint = await endpointWith(engine.address);
    assert.equal((await ask(gateway.port, endpoint.path, { body: 'first' })).status, 200);
    const second = await ask(gateway.port, endpoint.path, { body: 'second' });
    assert.equal(second.status, 200);
    assert.equal(engine.connections, 2);
    assert.deepEqual(engine.seen, ['first', 'second', 'second']);
    engine.close();
  });

  it('repeats a request that a replica died with once, and not again', async () => {
    const dying = await startTrap(() => false, { always: true });
    const alone = await endpointWith(dying.address);
    assert.equal((await ask(gateway.port, alone.path, { body: 'deadly' })).status, 502);
    assert.deepEqual(dying.seen, ['deadly', 'deadly']);
    const well = await startUpstream();
    const both = await endpointWith(dying.address, well.address);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => ask(gateway.port, both.path, { body: 'x' })),
    );
    assert.deepEqual([...new Set(answers.map((a) => a.status))], [200]);
    dying.close();
    await well.close();
  });

  it('never repeats a request whose answer had begun', async () => {
    const begun = await startTrap((n) => n === 1, { partial: 'HTTP/1.1 200 OK\r\nContent-' });
    const partly = await endpointWith(begun.address);
    assert.equal((await ask(gateway.port, partly.path, { body: 'first' })).status, 200);
    assert.equal((await ask(gateway.port, partly.path, { body: 'second' })).status, 502);
    assert.deepEqual(begun.seen, ['first', 'second']);
    begun.close();
  });

  it('never repeats a body that it did not keep', async () => {
    const engine = await startTrap((n) => n === 1);
    const endpoint = await endpointWith(engine.address);
    assert.equal((await ask(gateway.port, endpoint.path, { body: 'first' })).status, 200);
    const answer = await ask(gateway.port, endpoint.path, { body: 'L'.repeat(200_000) });
    assert.equal(answer.status, 502);
    assert.equal(engine.connections, 1);
    engine.close();
  });
});

interface Trap {
  address: string;
  connections: number;
  /** Bodies, in the order they were read. */
  seen: string[];
  close(): void;
}

/**
 * An engine on a raw socket: of the requests on one connection it answers those that `answers` accepts (counted from 1)
 * and closes the connection, perhaps after `partial`, when it has read another; a later connection is served well.
 */
async function startTrap(
  answers: (nth: number) => boolean,
  options: { partial?: string; always?: boolean } = {},
): Promise<Trap> {
  const sockets = new Set<Socket>();
  const trap: Trap = {
    address: '',
    connections: 0,
    seen: [],
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    trap.connections += 1;
    const good = trap.connections > 1 && !options.always;
    let nth = 0;
    let buffered = '';
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      buffered += chunk.toString('latin1');
      const head = buffered.indexOf('\r\n\r\n');
      if (head < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(buffered)?.[1] ?? 0);
      if (buffered.length < head + 4 + Math.min(length, 1000)) return;
      nth += 1;
      trap.seen.push(buffered.slice(head + 4));
      buffered = '';
      if (good || answers(nth)) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else if (options.partial) socket.end(options.partial);
      else socket.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  trap.address = `127.0.0.1:${address.port}`;
  return trap;
}
