import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';
import { ask } from './client.ts';
import { mutate, randomFrom, validRequest } from './mutate.ts';
import { scrape } from './scrape.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type TestEndpoint, type World } from './world.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** `npm run test:fuzz` sends 200,000. */
const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 10_000);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000_007);
const CLIENTS = 24;
const QUIET_MS = 150;
const MARK = /m[0-9a-f]{16}/g;
/**
 * What the process may grow by after the first tenth. The young generation alone may still take 3 × 64 MB; beyond that, a
 * request that leaves a kilobyte behind shows at 200,000.
 */
const GROWTH_MEGABYTES = 220;

describe('gateway: malformed requests', function () {
  this.timeout(Math.max(120_000, REQUESTS * 5));
  let world: World;
  let dir: string;
  let upstream: Upstream;
  let endpoint: TestEndpoint;
  let gateway: ChildProcess;
  let port: number;
  let complaints = '';
  const agent = new Agent({ keepAlive: true });
  before(async () => {
    world = await createWorld();
    dir = mkdtempSync(join(tmpdir(), 'gateway-fuzz-'));
    upstream = await startUpstream((req, res, body) => {
      const url = req.url ?? '';
      const marks = marksIn(`${url} ${req.headers['x-mark'] ?? ''} ${body}`);
      seen(marks);
      res.writeHead(200, { 'x-from-engine': '1' }).end([...marks].join(' '));
      upstream.requests.length = 0;
    });
    endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    port = await freePort();
    gateway = spawn(
      process.execPath,
      ['--max-semi-space-size=64', '--import', 'tsx', 'api/gateway/worker.ts'],
      {
        cwd: ROOT,
        env: {
          ...process.env,
          ENDPOINTS_DATA_DIR: dir,
          TEMPORAL_ADDRESS: '127.0.0.1:1',
          DATABASE_URL: world.db.url,
          GATEWAY_PORT: String(port),
          ENDPOINTS_SECRET_KEY: world.secretKey,
        },
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      },
    );
    gateway.stderr?.on('data', (chunk) => {
      complaints += chunk;
    });
    await new Promise((resolve) => gateway.once('message', resolve));
  });
  after(async () => {
    agent.destroy();
    gateway.kill('SIGKILL');
    await world.close();
    await upstream.close();
    rmSync(dir, { recursive: true, force: true });
  });

  let mixed = '';
  const issued = new Set<string>();
  /** Marks of requests in a text; a mark that a fault has changed is none. */
  const marksIn = (text: string) => new Set((text.match(MARK) ?? []).filter((mark) => issued.has(mark)));
  /** An engine must find one mark, that of one request, in all parts of what it gets. */
  function seen(marks: ReadonlySet<string>): void {
    if (marks.size > 1) mixed ||= `one request to the engine carried ${[...marks].join(' and ')}`;
  }

  it(`neither stop it nor leak nor touch each other, ${REQUESTS} of them (seed ${SEED})`, async () => {
    const random = randomFrom(SEED);
    let sent = 0;
    let answered = 0;
    let warm = { megabytes: 0, files: 0 };
    const client = async () => {
      while (sent < REQUESTS) {
        sent += 1;
        const mark = `m${randomBytes(8).toString('hex')}`;
        issued.add(mark);
        const message = mutate(random, validRequest(random, endpoint.path, mark));
        const probe = `GET ${endpoint.path}/${mark} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
        const text = await exchange(message + probe);
        for (const found of marksIn(text))
          assert.equal(found, mark, `an answer of another request, to ${JSON.stringify(message)}`);
        if (text.includes('x-from-engine')) answered += 1;
        assert.equal(mixed, '');
        assert.equal(gateway.exitCode, null, complaints);
        if (sent === Math.floor(REQUESTS / 10)) warm = cost();
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));

    await eventually('counters at zero', async () => (await scrape(port)).atRest);
    assert.equal((await ask(port, `${endpoint.path}/after`)).status, 200);
    assert.equal(complaints, '');
    // Faults that break nothing must still get through, or this would only test the parser.
    assert.ok(answered > REQUESTS / 50 && answered < REQUESTS, `${answered} reached the engine`);
    await eventually('connections closed', () => cost().files <= warm.files + 5);
    const grown = cost().megabytes - warm.megabytes;
    assert.ok(grown < GROWTH_MEGABYTES, `${grown.toFixed(1)} MB more than after the first tenth`);
  });

  function cost(): { megabytes: number; files: number } {
    const status = readFileSync(`/proc/${gateway.pid}/status`, 'utf8');
    const files = readdirSync(`/proc/${gateway.pid}/fd`).length;
    return { megabytes: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024, files };
  }

  /**
   * All that comes back for these bytes on a connection of their own. It ends when the gateway closes it, or when the
   * gateway waits for the rest of a message that has none: that is when others, asked later, have been answered meanwhile.
   */
  function exchange(bytes: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: nextAddress() });
      let text = '';
      socket.setEncoding('latin1');
      socket.setTimeout(QUIET_MS, () => {
        const before = text;
        void twoAreAnswered().then(() => text === before && socket.destroy(), reject);
      });
      socket.on('data', (chunk) => {
        text += chunk;
      });
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error);
      });
      socket.on('close', () => resolve(text));
      socket.write(bytes, 'latin1');
    });
  }

  async function twoAreAnswered(): Promise<void> {
    for (let n = 0; n < 2; n++)
      await new Promise<void>((resolve, reject) => {
        get({ port, host: '127.0.0.1', path: `${endpoint.path}/after`, agent }, (res) => {
          res.resume().on('end', resolve);
        }).on('error', reject);
      });
  }

  let addresses = 0;
  /** One address has ports for 28,000 connections a minute, and no more. */
  function nextAddress(): string {
    addresses = (addresses + 1) % 250;
    return `127.0.1.${addresses + 1}`;
  }
});
