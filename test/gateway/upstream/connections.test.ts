import assert from 'node:assert/strict';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CallHandler } from '../../../api/gateway/upstream/connection.ts';
import { Connections } from '../../../api/gateway/upstream/connections.ts';
import { requestHead } from '../../../api/gateway/upstream/request-head.ts';
import { eventually } from '../../support/eventually.ts';
import { freePort } from '../../support/ports.ts';

describe('gateway: connections to a replica', () => {
  let server: Server;
  let opened = 0;
  let waiting: ServerResponse[] = [];
  let connections: Connections;
  beforeEach(async () => {
    opened = 0;
    waiting = [];
    server = createServer((req, res) => {
      if (req.url === '/wait') waiting.push(res);
      else res.end('ok');
    });
    server.on('connection', () => {
      opened += 1;
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    connections = new Connections(new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
  });
  afterEach(async () => {
    connections.destroy();
    server.closeAllConnections();
    server.close();
  });

  /** Resolves with how it ended: `ok`, or the kind of failure. */
  function ask(path: string, to = connections): Promise<string> {
    const head = requestHead({ method: 'GET', path, headers: [] }, 'x', null) ?? '';
    return new Promise((resolve) => {
      const handler: CallHandler = {
        onHead: () => undefined,
        onData: () => true,
        onEnd: () => resolve('ok'),
        onFailure: ({ kind }) => resolve(kind),
      };
      to.send({ head, body: null, chunked: false, bodiless: false }, handler);
    });
  }

  it('has as many as there are requests at once, and uses them again', async () => {
    for (let i = 0; i < 5; i += 1) assert.equal(await ask('/'), 'ok');
    assert.equal(opened, 1);
    const held = [ask('/wait'), ask('/wait'), ask('/wait')];
    await eventually('three requests at once', () => waiting.length === 3);
    assert.equal(opened, 3);
    for (const res of waiting) res.end();
    assert.deepEqual(await Promise.all(held), ['ok', 'ok', 'ok']);
    await Promise.all([ask('/'), ask('/'), ask('/')]);
    assert.equal(opened, 3);
  });

  it('forgets those that ended while they were idle', async () => {
    await Promise.all([ask('/'), ask('/'), ask('/')]);
    assert.equal(connections.size, 3);
    server.closeAllConnections();
    await eventually('none is left', () => connections.size === 0);
    assert.equal(await ask('/'), 'ok');
  });

  it('ends those that nobody needs for some seconds', async () => {
    await Promise.all([ask('/'), ask('/')]);
    await eventually('none is left', () => connections.size === 0);
  });

  it('does not use one again whose request failed', async () => {
    const failed = ask('/wait');
    await eventually('asked', () => waiting.length === 1);
    waiting[0]?.destroy();
    assert.equal(await failed, 'lost');
    assert.equal(connections.size, 0);
  });

  it('lets what runs end when it is closed, and takes nothing new', async () => {
    const held = ask('/wait');
    await eventually('asked', () => waiting.length === 1);
    connections.close();
    assert.equal(await ask('/'), 'closed');
    waiting[0]?.end();
    assert.equal(await held, 'ok');
    await eventually('none is left', () => connections.size === 0);
  });

  it('breaks off what runs when it is destroyed', async () => {
    const held = ask('/wait');
    await eventually('asked', () => waiting.length === 1);
    connections.destroy();
    assert.equal(await held, 'ended');
  });

  it('says so when no connection comes about', async () => {
    const nobody = new Connections(new URL(`http://127.0.0.1:${await freePort()}`));
    assert.equal(await ask('/', nobody), 'noConnection');
    assert.equal(nobody.size, 0);
  });

  it('keeps none for which the engine has no time', async () => {
    server.keepAliveTimeout = 1000;
    assert.equal(await ask('/'), 'ok');
    await eventually('none is left', () => connections.size === 0);
  });
});
