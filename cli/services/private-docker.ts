import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitForLock } from '../up/lock.ts';
import { isAlive, processId } from '../up/process-id.ts';
import { dockerClient, dockerVersion, installDockerd, startDockerd } from './docker.ts';
import { exec } from './exec.ts';

export interface PrivateDocker {
  /** For `DOCKER_HOST`. */
  host: string;
  /**
   * `kill -9` of the engine, and its next start on what it left. Its containers outlive it; the next start ends them,
   * unless it has Docker's `live-restore`, which takes them up again.
   */
  crash(options?: { liveRestore?: boolean }): Promise<void>;
  /** Ends every container, the engine, and everything it made on this machine. */
  stop(): Promise<void>;
}

/**
 * A Docker engine of our own with its data below `dir`, for tests: no default bridge and no firewall rules, so any
 * number of them run side by side with the machine's own. Containers use networks made for them; published ports go
 * through the engine's user-land proxy. Linux and root only.
 */
export async function startPrivateDocker(options: {
  dir: string;
  /** Its images stay in `dir` for the next one that is started there; by itself everything goes. */
  keepImages?: boolean;
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}): Promise<PrivateDocker> {
  await installDockerd(options);
  await mkdir(options.dir, { recursive: true });
  if (!options.keepImages) return start(options.dir, () => rm(options.dir, { recursive: true, force: true }));
  // Two engines on one folder would destroy it.
  const lock = await waitForLock(`${options.dir}.lock`, {
    onWait: ({ pid }) => options.onProgress?.(`waiting for process ${pid}, which uses its images`),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  try {
    return await start(options.dir, async () => lock.release());
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function start(dir: string, afterwards: () => Promise<void>): Promise<PrivateDocker> {
  // The path of a unix socket may have about 100 characters, and the engine makes some of its own below this.
  const run = await mkdtemp(join(tmpdir(), 'dk-'));
  const host = `unix://${run}/docker.sock`;
  // Engines that make networks at the same moment cannot see each other's; ranges of their own keep them apart.
  const pool = `base=10.${randomInt(64, 256)}.0.0/16,size=24`;
  const args = [
    ...['--data-root', join(dir, 'root'), '--exec-root', join(run, 'x')],
    ...['--pidfile', join(run, 'pid'), '-H', host],
    ...['--bridge=none', '--iptables=false', '--ip6tables=false', '--default-address-pool', pool],
  ];
  const launch = (...more: string[]) => startDockerd([...args, ...more], join(dir, 'dockerd.log'), host);
  const containerdFile = join(run, 'x', 'containerd', 'containerd.pid');
  const kill = async () => {
    const containerd = Number(await readFile(containerdFile, 'utf8'));
    const going = [processId(pid), processId(containerd)];
    process.kill(pid, 'SIGKILL');
    // The kernel ends containerd with it. Until its parent has looked, the next engine would take it for one that runs.
    while (going.some((id) => id && isAlive(id))) await sleep(10);
    await rm(containerdFile, { force: true });
  };
  let pid = await launch();
  const crash = async ({ liveRestore = false } = {}) => {
    await kill();
    pid = await launch(...(liveRestore ? ['--live-restore'] : []));
  };
  const stop = async () => {
    // Only an engine that runs can remove what it made.
    if (!(await dockerVersion(host))) pid = await launch();
    await removeEverything(host);
    await endProcess(pid);
    await unmountBelow([run, dir]);
    await rm(run, { recursive: true, force: true });
    await afterwards();
  };
  return { host, crash, stop };
}

/** Networks too: the bridge of one that the engine does not remove stays on the machine. */
async function removeEverything(host: string): Promise<void> {
  const docker = dockerClient(host);
  const containers = await docker.listContainers({ all: true });
  await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })));
  const networks = await docker.listNetworks();
  const own = networks.filter(({ Driver }) => Driver === 'bridge');
  await Promise.all(own.map(({ Id }) => docker.getNetwork(Id).remove()));
}

async function endProcess(pid: number): Promise<void> {
  const id = processId(pid);
  if (!id) return;
  process.kill(pid, 'SIGTERM');
  const deadline = performance.now() + 15_000;
  while (isAlive(id)) {
    if (performance.now() > deadline) process.kill(pid, 'SIGKILL');
    await sleep(50);
  }
}

/** A killed engine leaves its container file systems mounted, and a mounted folder cannot be removed. */
async function unmountBelow(folders: string[]): Promise<void> {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((point) => folders.some((folder) => point.startsWith(`${folder}/`)));
  for (const point of mounts.reverse()) await exec('umount', ['-l', point]);
}
