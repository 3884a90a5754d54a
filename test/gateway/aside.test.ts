import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { Replicas } from '../../api/gateway/replicas.ts';
import type { Endpoint } from '../../api/gateway/snapshot.ts';
import { takesConnections } from '../../api/gateway/takes-connections.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';

/** Routes to one replica at `address`. */
function routesTo(address: string) {
  const endpoint = {
    id: 'e',
    replicas: [{ replicaId: 'r', address, engineKey: 'k', state: 'ready' }],
  } as unknown as Endpoint;
  return { version: 1, endpoints: new Map([['ns/e', endpoint]]), domains: null, tokens: new Map() };
}

/** A host that drops what is sent to it: a process that does not run, with a full queue of connections. */
async function silentHost(): Promise<{ port: number; close: () => void }> {
  const code = `require('node:net').createServer().listen({port: 0, host: '127.0.0.1', backlog: 1}, function () {
    process.stdout.write(String(this.address().port)) })`;
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = await once(child.stdout, 'data');
  child.kill('SIGSTOP');
  const queued: Socket[] = [];
  for (let full = false; !full; ) {
    const socket = connect({ host: '127.0.0.1', port: Number(port) });
    queued.push(socket);
    full = await Promise.race([
      once(socket, 'connect').then(() => false),
      new Promise<true>((resolve) => setTimeout(resolve, 500, true)),
    ]);
  }
  return {
    port: Number(port),
    close: () => {
      for (const socket of queued) socket.destroy();
      child.kill('SIGKILL');
    },
  };
}

describe('gateway: a replica that takes no connections', () => {
  it('is not picked until a connection without a request has come about', async () => {
    const usable: string[] = [];
    const replicas = new Replicas((id) => usable.push(id));
    const port = await freePort();
    replicas.apply(routesTo(`127.0.0.1:${port}`));
    const [target] = replicas.ready('e');
    assert.ok(target);
    replicas.setAside(target);
    replicas.setAside(target);
    assert.equal(target.aside, true);

    let connections = 0;
    let bytes = 0;
    const engine = createServer((socket) => {
      connections += 1;
      assert.deepEqual([target.aside, usable], [true, []], 'usable before it took a connection');
      socket.on('data', (chunk) => {
        bytes += chunk.length;
      });
    }).listen(port, '127.0.0.1');
    await eventually('usable again', () => usable.length > 0);
    assert.deepEqual([target.aside, usable, connections, bytes], [false, ['e'], 1, 0]);
    engine.close();
    await replicas.destroy();
  });

  it('is no longer tried once its route is gone', async () => {
    let connections = 0;
    const engine = createServer(() => {
      connections += 1;
    }).listen(0, '127.0.0.1');
    await once(engine, 'listening');
    const address = `127.0.0.1:${(engine.address() as { port: number }).port}`;
    const usable: string[] = [];
    const replicas = new Replicas((id) => usable.push(id));
    replicas.apply(routesTo(address));
    const [gone] = replicas.ready('e');
    assert.ok(gone);
    replicas.setAside(gone);
    replicas.apply({ ...routesTo(address), endpoints: new Map() });
    replicas.apply(routesTo(address));
    const [again] = replicas.ready('e');
    assert.ok(again && again !== gone);
    // Set aside later, it is tried later than the one that is gone would have been.
    replicas.setAside(again);
    await eventually('the new one is usable', () => usable.length > 0);
    assert.deepEqual([connections, usable, gone.aside, again.aside], [1, ['e'], true, false]);
    engine.close();
    await replicas.destroy();
  });

  it('is found out in a bounded time where its host answers nothing at all', async () => {
    const host = await silentHost();
    try {
      assert.equal(await takesConnections(new URL(`http://127.0.0.1:${host.port}`), 200), false);
    } finally {
      host.close();
    }
  });
});
