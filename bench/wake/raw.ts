import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDocker } from '../../activities/containers/docker.ts';
import { FILE, IMAGE } from '../../test/support/installation.ts';

/** Docker without a platform, through its API: what is left when nothing decides, places, probes or routes. */
const PROBE_PAUSE_MS = 5;
const KEY = 'raw';

export interface RawTimes {
  run: number;
  start: number;
  unpause: number;
}

/** From the call to the end of a short answer, in milliseconds: a new container, the same stopped, the same frozen. */
export async function rawTimes(networkId: string, question: string): Promise<RawTimes> {
  const docker = openDocker();
  const made: { container?: Awaited<ReturnType<ReturnType<typeof openDocker>['createContainer']>> } = {};
  try {
    const run = await timed(question, async () => {
      made.container = await docker.createContainer(options(networkId));
      await made.container.start();
      return made.container;
    });
    const container = made.container;
    if (!container) throw new Error('no container');
    await container.stop({ t: 5 });
    const start = await timed(question, async () => {
      await container.start();
      return container;
    });
    await container.pause();
    const unpause = await timed(question, async () => {
      await container.unpause();
      return container;
    });
    return { run, start, unpause };
  } finally {
    await made.container?.remove({ force: true, v: true });
  }
}

/** The same image, weights, limits and isolation as a replica of the sample. */
function options(networkId: string) {
  return {
    Image: IMAGE,
    Cmd: [
      ...['-m', `/repository/${FILE}`, '--host', '0.0.0.0', '--port', '8080', '--ctx-size', '1024'],
      ...['--parallel', '2', '--threads-http', '2', '--threads', '1', '--metrics'],
    ],
    Env: [`LLAMA_API_KEY=${KEY}`],
    ExposedPorts: { '8080/tcp': {} },
    HostConfig: {
      NetworkMode: networkId,
      PortBindings: { '8080/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] },
      Mounts: [
        {
          Type: 'bind' as const,
          Source: dirname(process.env.TEST_GGUF ?? ''),
          Target: '/repository',
          ReadOnly: true,
        },
      ],
      Memory: 2 * 1024 ** 3,
      MemorySwap: 2 * 1024 ** 3,
      CpuPeriod: 100_000,
      CpuQuota: 100_000,
      PidsLimit: 4096,
      SecurityOpt: ['no-new-privileges'],
      CapDrop: ['ALL'],
      Init: true,
    },
  };
}

async function timed(
  question: string,
  call: () => Promise<{
    inspect(): Promise<{ NetworkSettings: { Ports: Record<string, { HostPort: string }[] | null> } }>;
  }>,
): Promise<number> {
  const began = Date.now();
  const container = await call();
  const { NetworkSettings } = await container.inspect();
  const address = `http://127.0.0.1:${NetworkSettings.Ports['8080/tcp']?.[0]?.HostPort}`;
  while (!(await healthy(address))) await sleep(PROBE_PAUSE_MS);
  const response = await fetch(`${address}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    body: question,
  });
  await response.text();
  return Date.now() - began;
}

async function healthy(address: string): Promise<boolean> {
  try {
    return (await fetch(`${address}/health`)).status === 200;
  } catch {
    return false;
  }
}
