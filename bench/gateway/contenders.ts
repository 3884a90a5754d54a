import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pythonVenv } from '../../cli/services/python.ts';
import { createWorld, type World } from '../../test/gateway/world.ts';
import { eventually } from '../../test/support/eventually.ts';
import { freePort } from '../../test/support/ports.ts';
import { completion, PATH, type Target } from './client.ts';
import { startGateway } from './gateway.ts';
import { accepts, has, type Started, startNode, startPinned } from './processes.ts';

/** One row of the table. */
export interface Contender {
  name: string;
  target: Target;
  /** Null for the upstream itself: what it uses is no proxy's cost. */
  process: Started | null;
}

export const PROXY_CORE = 0;
export const REPLICAS = 4;

const file = (name: string) => join(import.meta.dirname, name);
const plain = (port: number): Target => ({ port, prefix: '', headers: [] });

export async function bare(upstreamPort: number): Promise<Contender> {
  const port = await freePort();
  const process = startNode(PROXY_CORE, file('bare.ts'), [port, upstreamPort]);
  await accepts(port);
  return { name: 'bare undici', target: plain(port), process };
}

/** The gateway as a process, on a store of its own: private endpoint, token, four replicas. */
export async function ours(
  upstreamPorts: readonly number[],
  dir: string,
): Promise<Contender & { process: Started; world: World; close(): Promise<void> }> {
  const world = await createWorld();
  const endpoint = await world.addEndpoint({ type: 'private' });
  for (const port of upstreamPorts) await world.addReplica(endpoint, `127.0.0.1:${port}`);
  const token = await world.token();
  const { url: databaseUrl } = world.db;
  const process = await startGateway(PROXY_CORE, { databaseUrl, secretKey: world.secretKey, dir });
  const target = { port: process.port, prefix: endpoint.path, headers: [`authorization: Bearer ${token}`] };
  return { name: 'ours', target, process, world, close: () => world.close() };
}

/** This and the others: null, and a line why, where the program is not there. */
export async function nginx(upstreamPort: number, dir: string): Promise<Contender | null> {
  if (!has('nginx')) return absent('nginx');
  const port = await freePort();
  const home = join(dir, 'nginx');
  await mkdir(home, { recursive: true });
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (n) => `${n}_temp_path ${home}/${n};`,
  );
  const config = `daemon off; master_process off; worker_processes 1; error_log stderr error; pid ${home}/pid;
    events { worker_connections 4096; }
    http {
      access_log off; keepalive_requests 100000000; ${temporary.join(' ')}
      upstream engine { server 127.0.0.1:${upstreamPort}; keepalive 256; keepalive_requests 100000000; }
      server {
        listen 127.0.0.1:${port};
        location / {
          proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
        }
      }
    }`;
  await writeFile(join(home, 'nginx.conf'), config);
  const process = startPinned(PROXY_CORE, 'nginx', ['-p', home, '-c', join(home, 'nginx.conf')]);
  await accepts(port);
  return { name: 'nginx', target: plain(port), process };
}

export async function haproxy(upstreamPort: number, dir: string): Promise<Contender | null> {
  if (!has('haproxy')) return absent('haproxy');
  const port = await freePort();
  // Without `http-no-delay` it asks the kernel to wait for more data: 100 ms and more for every chunk.
  const config = `global
  nbthread 1
defaults
  mode http
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:${port}
  default_backend engine
backend engine
  server one 127.0.0.1:${upstreamPort}
`;
  await writeFile(join(dir, 'haproxy.cfg'), config);
  const process = startPinned(PROXY_CORE, 'haproxy', ['-db', '-q', '-f', join(dir, 'haproxy.cfg')]);
  await accepts(port);
  return { name: 'haproxy', target: plain(port), process };
}

/** Wheels of the routers, which are programs in Rust behind a line of Python. */
const ROUTERS = ['vllm-router>=0.1,<0.2', 'sglang-router>=0.3,<0.4'];

/** Where the routers' commands are: an environment of their own in the cache, filled when the package index is reached. */
async function routers(): Promise<string | null> {
  try {
    return (await pythonVenv(ROUTERS)).bin;
  } catch (error) {
    console.log(`vllm-router and sglang-router: left out. ${(error as Error).message}`);
    return null;
  }
}

/**
 * The routers of the same trade. They read each body into a typed request and write a new one. Both are told to take turns,
 * which costs them least.
 */
export async function rustRouters(upstreamPorts: readonly number[]): Promise<Contender[]> {
  const bin = await routers();
  if (bin === null) return [];
  const workers = upstreamPorts.map((upstream) => `http://127.0.0.1:${upstream}`);
  const options = ['--host', '127.0.0.1', '--policy', 'round_robin', '--log-level', 'error'];
  const start = async (name: string, command: readonly string[]): Promise<Contender> => {
    const port = await freePort();
    const ports = ['--port', String(port), '--prometheus-port', String(await freePort())];
    const args = [...command, ...options, ...ports, '--worker-urls', ...workers];
    const process = startPinned(PROXY_CORE, join(bin, name), args);
    await answers(plain(port), name);
    return { name, target: plain(port), process };
  };
  return [await start('vllm-router', []), await start('sglang-router', ['launch'])];
}

/** They listen before they know their engines, or long after. */
async function answers(target: Target, name: string): Promise<void> {
  await eventually(
    `${name} answers`,
    async () => {
      const init = {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: completion('fast'),
      };
      const response = await fetch(`http://127.0.0.1:${target.port}${PATH}`, init);
      await response.text();
      return response.status === 200;
    },
    { timeoutMs: 120_000, everyMs: 200 },
  );
}

function absent(program: string): null {
  console.log(`${program}: left out, it is not installed (apt-get install ${program})`);
  return null;
}
