import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '../../cli/services/postgres.ts';
import { openStore } from '../../store/database.ts';
import { ensureUser } from '../../store/namespaces.ts';
import { createToken } from '../../store/tokens.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';
import { createBody } from './support.ts';

/** The parts of answers that are looked at here. */
interface ApiBody {
  code?: string;
  status?: { state: string };
  items?: { name: string }[];
}

interface ApiProcess {
  child: ChildProcess;
  output: () => string;
  exited: Promise<number | null>;
}

/** The real process, with neither a Hub nor a Temporal server behind the addresses it is given. */
function startApi(env: Record<string, string>): ApiProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', 'api/control/main.ts'], {
    env: { ...process.env, LOG_LEVEL: 'warn', HF_TOKEN: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  return { child, output: () => text, exited };
}

describe('api: the process', () => {
  let dir: string;
  let postgres: PostgresServer | undefined;
  let postgresPort: number;
  let apiPort: number;
  let api: ApiProcess | undefined;
  let token: string;
  let env: Record<string, string>;

  const startDatabase = async () => {
    postgres = await startPostgres({ dir: join(dir, 'postgres'), port: postgresPort });
  };
  const call = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`http://127.0.0.1:${apiPort}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as ApiBody };
  };

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'api-process-'));
    postgresPort = await freePort();
    apiPort = await freePort();
    env = {
      DATABASE_URL: `postgresql://postgres@127.0.0.1:${postgresPort}/postgres`,
      ENDPOINTS_DATA_DIR: join(dir, 'data'),
      API_PORT: String(apiPort),
      TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}`,
      HF_ENDPOINT: `http://127.0.0.1:${await freePort()}`,
    };
  });
  after(async () => {
    api?.child.kill('SIGKILL');
    await api?.exited;
    await postgres?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('waits for the database, migrates it, and serves without Temporal and without a Hub', async () => {
    api = startApi(env);
    await eventually('it says that it waits', () => api?.output().includes('waiting for the database'));
    await startDatabase();
    await eventually('it serves', async () => (await call('GET', '/health')).status === 200);
    const store = openStore(env.DATABASE_URL ?? '');
    await ensureUser(store, 'alice');
    ({ token } = await createToken(store, { userName: 'alice', name: 'test', role: 'write' }));
    await store.destroy();
    const created = await call('POST', '/v2/endpoint/alice', createBody('first'));
    assert.equal(created.status, 200, JSON.stringify(created.body));
    assert.equal((await call('GET', '/v2/endpoint/alice/first')).body.status?.state, 'pending');
    assert.equal(statSync(join(dir, 'data', 'secret.key')).mode & 0o777, 0o600);
  });

  it('answers 503 while the database restarts, then serves on with what was stored', async () => {
    await postgres?.stop();
    const { status, body } = await call('GET', '/v2/endpoint/alice');
    assert.equal(status, 503);
    assert.equal(body.code, 'UNAVAILABLE');
    assert.equal((await call('GET', '/health')).status, 200);
    await startDatabase();
    const list = await eventually('it reads again', async () => {
      const answer = await call('GET', '/v2/endpoint/alice');
      return answer.status === 200 && answer.body;
    });
    assert.equal(list.items?.[0]?.name, 'first');
    assert.equal((await call('PUT', '/v2/endpoint/alice/first', { tags: ['after'] })).status, 200);
    assert.equal(api?.child.exitCode, null);
  });

  it('says in one line that its port is taken, and ends', async () => {
    const second = startApi(env);
    assert.equal(await second.exited, 1);
    const lines = second.output().trim().split('\n');
    assert.equal(lines.length, 1, second.output());
    assert.match(lines[0] ?? '', new RegExp(`EADDRINUSE.*${apiPort}.*API_PORT`));
  });

  it('says in one line that it has no database', async () => {
    const without = startApi({ ...env, DATABASE_URL: '' });
    assert.equal(await without.exited, 1);
    assert.match(without.output(), /^control API: DATABASE_URL is not set.*\n$/);
  });

  it('gives up a database that does not answer at all with 503 rather than never', async () => {
    await postgres?.stop();
    postgres = undefined;
    const sockets = new Set<Socket>();
    const silentServer = createServer((socket) => {
      sockets.add(socket);
    });
    await new Promise<void>((resolve) => silentServer.listen(postgresPort, '127.0.0.1', resolve));
    try {
      const { status, body } = await call('GET', '/v2/endpoint/alice');
      assert.equal(status, 503);
      assert.equal(body.code, 'UNAVAILABLE');
    } finally {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => silentServer.close(resolve));
    }
  });

  it('ends in good order when told to', async () => {
    api?.child.kill('SIGTERM');
    assert.equal(await api?.exited, 0);
  });
});
