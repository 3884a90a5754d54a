import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { openDocker } from '../activities/containers/docker.ts';
import { FILE, IMAGE } from '../test/support/installation.ts';
import { measureDocker, median, printRows } from './support/stage.ts';

/**
 * What the network of a container costs its start: our bridge with a published port beside the same without one, the
 * host's network bound to loopback, and no network at all with the engine on a Unix socket in a shared folder. In turn,
 * with Docker alone; `docs/wake.md` says what follows from it.
 */
const ROUNDS = Number(process.env.BENCH_ROUNDS || 10);
const PAUSE_MS = 5;
const HOST_PORT = 18_473;

interface Way {
  name: string;
  network: string;
  /** What the engine listens on. */
  listen: string[];
  publish?: true;
}

await measureDocker(async () => {
  const docker = openDocker();
  const bridge = await docker.createNetwork({
    Name: `bench-${process.pid}`,
    Driver: 'bridge',
    Options: { 'com.docker.network.bridge.enable_icc': 'false' },
  });
  const all = ['--host', '0.0.0.0', '--port', '8080'];
  const ways: Way[] = [
    { name: 'bridge, published port', network: bridge.id, listen: all, publish: true },
    { name: 'bridge, no published port', network: bridge.id, listen: all },
    { name: 'host network', network: 'host', listen: ['--host', '127.0.0.1', '--port', String(HOST_PORT)] },
    { name: 'no network, Unix socket', network: 'none', listen: ['--host', '/sockets/engine.sock'] },
  ];
  const started: Record<string, number[]> = {};
  const healthy: Record<string, number[]> = {};
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const way of ways) {
        const times = await once(docker, way);
        started[way.name] = [...(started[way.name] ?? []), times.startMs];
        if (times.healthyMs !== null) healthy[way.name] = [...(healthy[way.name] ?? []), times.healthyMs];
      }
    }
  } finally {
    await bridge.remove();
  }
  console.log(`\nthe call that starts the container, ${ROUNDS} rounds`);
  printRows(started);
  console.log('until the engine is healthy, from the same call');
  printRows(healthy);
  const [first] = ways;
  const published = median(started[first?.name ?? ''] ?? []);
  for (const { name } of ways.slice(1))
    console.log(`${name}: ${Math.round(published - median(started[name] ?? []))} ms less per start`);
  return true;
});

async function once(docker: ReturnType<typeof openDocker>, way: Way) {
  const sockets = await mkdtemp(join(tmpdir(), 'sockets-'));
  const weights = dirname(process.env.TEST_GGUF ?? '');
  const container = await docker.createContainer({
    Image: IMAGE,
    Cmd: ['-m', `/repository/${FILE}`, ...way.listen, '--ctx-size', '1024', '--threads', '1'],
    ExposedPorts: { '8080/tcp': {} },
    HostConfig: {
      NetworkMode: way.network,
      ...(way.publish ? { PortBindings: { '8080/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] } } : {}),
      Binds: [`${weights}:/repository:ro`, `${sockets}:/sockets`],
      SecurityOpt: ['no-new-privileges'],
      CapDrop: ['ALL'],
      Init: true,
    },
  });
  try {
    const began = Date.now();
    await container.start();
    const startMs = Date.now() - began;
    const ask = await health(way, container, join(sockets, 'engine.sock'));
    while (ask && !(await ask())) {
      if (!(await container.inspect()).State.Running) throw new Error(`${way.name}: the engine ended`);
      await sleep(PAUSE_MS);
    }
    return { startMs, healthyMs: ask && Date.now() - began };
  } finally {
    await container.remove({ force: true, v: true });
    await rm(sockets, { recursive: true, force: true });
  }
}

/** Null for what only other hosts' routes would tell: a bridge that publishes nothing. */
async function health(
  way: Way,
  container: {
    inspect(): Promise<{ NetworkSettings: { Ports: Record<string, { HostPort: string }[] | null> } }>;
  },
  socketPath: string,
): Promise<(() => Promise<boolean>) | null> {
  if (way.network !== 'host' && way.network !== 'none' && !way.publish) return null;
  const { Ports } = (await container.inspect()).NetworkSettings;
  const port = way.publish ? Ports['8080/tcp']?.[0]?.HostPort : HOST_PORT;
  const dispatcher = new Agent(way.network === 'none' ? { connect: { socketPath } } : {});
  return async () => {
    try {
      const { statusCode, body } = await request(`http://127.0.0.1:${port}/health`, { dispatcher });
      await body.dump();
      return statusCode === 200;
    } catch {
      return false;
    }
  };
}
