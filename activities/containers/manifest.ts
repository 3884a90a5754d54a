import { z } from 'zod';
import type { SealedSecrets } from '../../spec/lifecycle.ts';
import { familiarName } from './exact.ts';
import { registryOf } from './pull-errors.ts';

/** What a registry says of an image without it being pulled. */
export interface ImageFacts {
  /** Of all layers as they travel: compressed. */
  bytes: number;
  /** The same by layer, under the short ids by which Docker tells of them. */
  layers: ReadonlyMap<string, number>;
  /** The image's own environment. */
  env: string[];
}

export interface RegistryQuestion {
  registry: SealedSecrets['registry'];
  /** As registries name it: `amd64`, `arm64`. */
  architecture: string;
  /** Over plain HTTP, as Docker is configured to speak to it. */
  plain: boolean;
  signal?: AbortSignal | undefined;
}

/** What it says is good to have, and not worth waiting for. */
const TIMEOUT_MS = 5000;
/** Manifests and configurations are kilobytes. */
const MAX_BYTES = 4 * 1024 ** 2;
const DOCKER_HUB = 'registry-1.docker.io';
const TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

const index = z.object({
  manifests: z.array(
    z.object({
      digest: z.string(),
      platform: z.object({ os: z.string(), architecture: z.string() }).optional(),
    }),
  ),
});
const manifest = z.object({
  config: z.object({ digest: z.string() }),
  layers: z.array(z.object({ digest: z.string(), size: z.number().nonnegative() })),
});
const imageConfig = z.object({ config: z.object({ Env: z.array(z.string()).nullish() }).nullish() });

/**
 * Asks the registry of an image for its size and environment. Null when it does not say so within 5 s, for whatever reason:
 * the pull will tell the reason better.
 */
export async function askRegistry(reference: string, question: RegistryQuestion): Promise<ImageFacts | null> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const signal = question.signal ? AbortSignal.any([question.signal, timeout]) : timeout;
  try {
    const ask = asker(reference, question, signal);
    const found = await ask(`manifests/${versionOf(reference)}`);
    const list = index.safeParse(found);
    const own = list.success && list.data.manifests.find(({ platform }) => isFor(platform, question));
    const chosen = manifest.parse(own ? await ask(`manifests/${own.digest}`) : found);
    const { config } = imageConfig.parse(await ask(`blobs/${chosen.config.digest}`));
    const bytes = chosen.layers.reduce((sum, { size }) => sum + size, 0);
    const layers = new Map(chosen.layers.map(({ digest, size }) => [shortId(digest), size]));
    return { bytes, layers, env: config?.Env ?? [] };
  } catch {
    question.signal?.throwIfAborted();
    return null;
  }
}

function shortId(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}

function isFor(
  platform: { os: string; architecture: string } | undefined,
  { architecture }: RegistryQuestion,
): boolean {
  return platform?.os === 'linux' && platform.architecture === architecture;
}

function versionOf(reference: string): string {
  const [named = '', digest] = reference.split('@');
  return digest ?? /:([^:/]+)$/.exec(named)?.[1] ?? 'latest';
}

type Ask = (path: string) => Promise<unknown>;

/** Asks for parts of one repository, with the login the registry turns out to want. */
function asker(reference: string, { registry, plain }: RegistryQuestion, signal: AbortSignal): Ask {
  const isHub = registryOf(reference).startsWith('https:');
  const host = isHub ? DOCKER_HUB : registryOf(reference);
  const name = familiarName(reference);
  const path = isHub ? (name.includes('/') ? name : `library/${name}`) : name.slice(host.length + 1);
  const basic =
    registry && `Basic ${Buffer.from(`${registry.username}:${registry.password}`).toString('base64')}`;
  let login: string | null = null;
  const get = (url: string, authorization: string | null) =>
    fetch(url, { headers: { accept: TYPES, ...(authorization ? { authorization } : {}) }, signal });
  return async (part) => {
    const url = `${plain ? 'http' : 'https'}://${host}/v2/${path}/${part}`;
    let response = await get(url, login);
    if (response.status === 401 && login === null) {
      const challenge = response.headers.get('www-authenticate') ?? '';
      await response.body?.cancel();
      login = /^bearer /i.test(challenge) ? await bearer(challenge, (to) => get(to, basic)) : basic;
      response = await get(url, login);
    }
    return await json(response);
  };
}

/** Registries with tokens name a service that gives one, to anybody for what is public. */
async function bearer(challenge: string, get: (url: string) => Promise<Response>): Promise<string> {
  const part = (name: string) => new RegExp(`${name}="([^"]*)"`, 'i').exec(challenge)?.[1];
  const url = new URL(part('realm') ?? '');
  for (const name of ['service', 'scope']) {
    const value = part(name);
    if (value) url.searchParams.set(name, value);
  }
  const given = z.object({ token: z.string().optional(), access_token: z.string().optional() });
  const { token, access_token } = given.parse(await json(await get(url.href)));
  return `Bearer ${token ?? access_token ?? ''}`;
}

async function json(response: Response): Promise<unknown> {
  if (!response.ok || !response.body) throw new Error(`answered ${response.status}`);
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body) {
    length += part.length;
    if (length > MAX_BYTES) throw new Error('too long for a manifest');
    parts.push(part);
  }
  return JSON.parse(Buffer.concat(parts).toString('utf8'));
}
