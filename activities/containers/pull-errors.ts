import { EndpointsError, type ErrorCode } from '../../spec/errors.ts';
import { dockerError, engineSentence } from './docker.ts';

interface Rule {
  pattern: RegExp;
  code: ErrorCode;
  /** What happened and what to do; `credentials`: whether the owner gave some; `byDigest`: not by a tag. */
  say(about: { registry: string; credentials: boolean; byDigest: boolean }): string;
}

/**
 * The engine's sentences about a pull, first match counts. What stands for an unreachable registry comes before what a
 * registry answers: a proxy's refusal of a connection is no refusal of the image.
 */
const RULES: readonly Rule[] = [
  {
    pattern: /no space left on device|disk quota exceeded/i,
    code: 'DISK_FULL',
    say: () => "the host's disk is full; remove unused images or add space.",
  },
  {
    pattern: /invalid reference format|invalid repository name|must be lowercase/i,
    code: 'IMAGE_NOT_FOUND',
    say: () => 'this is not an image reference; write registry/name:tag.',
  },
  {
    pattern: /toomanyrequests|too many requests|rate limit/i,
    code: 'IMAGE_PULL_FAILED',
    say: ({ registry, credentials }) =>
      `${registry} limits how much may be pulled${credentials ? '' : ' without an account; give credentials'}.`,
  },
  {
    pattern:
      /dial tcp|no such host|connection refused|connection reset|i\/o timeout|tls handshake|deadline exceeded|client\.timeout|network is unreachable|x509|unexpected http status: 5\d\d|\b50[0234]\b|unexpected eof/i,
    code: 'IMAGE_PULL_FAILED',
    say: ({ registry }) => `it could not be pulled; check that the host reaches ${registry}.`,
  },
  {
    pattern: /no matching manifest|does not match the specified platform/i,
    code: 'IMAGE_NOT_FOUND',
    say: () => "it exists, but not for the host's processor; choose another image.",
  },
  {
    pattern: /unauthorized|authentication required|no basic auth credentials|incorrect username or password/i,
    code: 'IMAGE_AUTH',
    say: ({ registry, credentials }) =>
      credentials
        ? `${registry} refused the given credentials; check model.image.custom.credentials.`
        : 'it is private, or does not exist; check the name, and give credentials if it is private.',
  },
  {
    pattern: /denied/i,
    code: 'IMAGE_AUTH',
    say: ({ registry, credentials }) =>
      credentials
        ? `it does not exist, or the given credentials may not pull it from ${registry}.`
        : 'it is private, or does not exist; check the name, and give credentials if it is private.',
  },
  {
    pattern: /manifest unknown|not found|does not exist|no such image|name unknown/i,
    code: 'IMAGE_NOT_FOUND',
    say: ({ byDigest }) =>
      byDigest
        ? 'the registry has this digest no longer; update the endpoint to an image that it has.'
        : 'the registry has no such image; check name and tag.',
  },
];

/** A pull that failed, as a reader of the endpoint should know it. Never says a password: the engine does not either. */
export function pullError(error: unknown, image: string, credentials: boolean): Error {
  const said = engineSentence(error);
  const registry = registryName(image);
  const away = dockerError(error, `pulling image ${image}`);
  if (away instanceof EndpointsError && away.code === 'DOCKER_UNAVAILABLE') return away;
  const rule = RULES.find(({ pattern }) => pattern.test(said));
  const code = rule?.code ?? 'IMAGE_PULL_FAILED';
  const what =
    rule?.say({ registry, credentials, byDigest: image.includes('@') }) ?? 'it could not be pulled.';
  return new EndpointsError(code, `image ${image}: ${what} Docker said: ${said}`);
}

/** The part before the first slash names a registry only when it looks like a host (Docker's rule). */
export function registryOf(image: string): string {
  const [first = '', ...rest] = image.split('/');
  const isHost = rest.length > 0 && (first.includes('.') || first.includes(':') || first === 'localhost');
  return isHost ? first : 'https://index.docker.io/v1/';
}

function registryName(image: string): string {
  const registry = registryOf(image);
  return registry.startsWith('https:') ? 'Docker Hub' : registry;
}
