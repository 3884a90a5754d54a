import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type Docker from 'dockerode';
import { CliError } from '../errors.ts';
import { waitForLock } from '../up/lock.ts';
import { exec, onPath } from './exec.ts';
import { answers } from './net.ts';

export interface ImageOptions {
  docker: Docker;
  /** Reference from `platform.yaml`. */
  image: string;
  cacheDir: string;
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}

export type ImageSource = 'present' | 'pulled' | 'built from Debian';

/**
 * Makes sure the Docker engine has the llama.cpp image: already there, pulled, or, where the registry cannot be reached,
 * built from Debian's own `llama.cpp-tools` package under the same reference (a label says so).
 * @throws CliError that says what was tried
 */
export async function ensureEngineImage(options: ImageOptions): Promise<ImageSource> {
  if (await hasImage(options.docker, options.image)) return 'present';
  const registry = registryOf(options.image);
  options.onProgress?.(`asking ${registry}`);
  if (await answers(`https://${registry}/v2/`)) {
    await pullImage(options);
    return 'pulled';
  }
  options.onProgress?.(`${registry} cannot be reached: building from Debian's llama.cpp package`);
  await importImage(options, await debianTarball(options), [
    'ENTRYPOINT ["/usr/bin/llama-server"]',
    'LABEL inference-endpoints.built-from="Debian llama.cpp-tools"',
  ]);
  return 'built from Debian';
}

/** The registry host of an image reference; the first part counts as one when it looks like a host name. */
export function registryOf(image: string): string {
  const [first = '', ...rest] = image.split('/');
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  return isHost ? first : 'registry-1.docker.io';
}

/** Whether the Docker engine has an image of this reference. */
export async function hasImage(docker: Docker, image: string): Promise<boolean> {
  try {
    await docker.getImage(image).inspect();
    return true;
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 404) return false;
    throw error;
  }
}

/** @throws CliError */
export async function pullImage({ docker, image, onProgress, signal }: ImageOptions): Promise<void> {
  const stream = await docker.pull(image, signal ? { abortSignal: signal } : {});
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(
      stream,
      (error) => (error ? reject(new CliError(`${image} cannot be pulled: ${error.message}`)) : resolve()),
      (event: { status?: string; progress?: string }) =>
        onProgress?.([event.status, event.progress].filter(Boolean).join(' ')),
    );
  });
}

/** A root file system with `llama-server`, made once and kept in the cache: 154 MB, about half a minute. */
async function debianTarball({ cacheDir, onProgress, signal }: ImageOptions): Promise<string> {
  const target = join(cacheDir, 'llamacpp-debian.tar');
  await mkdir(cacheDir, { recursive: true });
  const lock = await waitForLock(`${target}.lock`, {
    onWait: ({ pid }) => onProgress?.(`waiting for process ${pid}, which is building it`),
    ...(signal ? { signal } : {}),
  });
  try {
    if (!existsSync(target)) await build(target, onProgress, signal);
    return target;
  } finally {
    lock.release();
  }
}

async function build(
  target: string,
  onProgress: ((message: string) => void) | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !(await onPath('apt-get'))) {
    throw new CliError(
      "the engine's image registry cannot be reached, and building the image needs root on Debian: connect this " +
        "machine, load the image yourself ('docker load'), or name one you have in platform.yaml (engines.llamacpp.image)",
    );
  }
  await ensureMmdebstrap({ ...(onProgress ? { onProgress } : {}), ...(signal ? { signal } : {}) });
  const work = await mkdtemp(`${target}.`);
  try {
    // apt downloads as a user of its own, who must be able to pass.
    await chmod(work, 0o755);
    const out = join(work, 'root.tar');
    const flags = [`--aptopt=Acquire::Check-Valid-Until "false"`, '--variant=essential'];
    await exec('mmdebstrap', [...flags, '--include=llama.cpp-tools,ca-certificates', 'forky', out], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', TMPDIR: work },
      signal,
      onLine: (line) => onProgress?.(line.replace(/^I: /, 'mmdebstrap: ')),
    });
    await rename(out, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Installs Debian's tool that makes root file systems, where it is missing. @throws CliError */
export async function ensureMmdebstrap(options: Pick<ImageOptions, 'onProgress' | 'signal'>): Promise<void> {
  if (await onPath('mmdebstrap')) return;
  const { onProgress, signal } = options;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  onProgress?.('installing mmdebstrap');
  await exec('apt-get', ['update', '-qq'], { env, signal });
  await exec('apt-get', ['install', '-y', '--no-install-recommends', 'mmdebstrap'], { env, signal });
}

/**
 * Makes an image of a root file system under the reference. `changes` are lines of a Dockerfile.
 * @throws CliError when the reference is a digest, or Docker does not take it
 */
export async function importImage(
  { docker, image, onProgress }: Pick<ImageOptions, 'docker' | 'image' | 'onProgress'>,
  source: string | NodeJS.ReadableStream,
  changes: string[],
): Promise<void> {
  if (image.includes('@')) {
    throw new CliError(
      `${image} names a digest, which only its registry can provide, and that cannot be reached`,
    );
  }
  const colon = image.indexOf(':', image.lastIndexOf('/'));
  const [repo, tag] = colon < 0 ? [image, 'latest'] : [image.slice(0, colon), image.slice(colon + 1)];
  onProgress?.(`importing ${image}`);
  const answer = await docker.importImage(source, { repo, tag, changes });
  const said = (await buffer(answer)).toString('utf8');
  if (!(await hasImage(docker, image))) throw new CliError(`${image} cannot be imported: ${said.trim()}`);
}
