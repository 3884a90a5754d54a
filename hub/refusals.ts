import { EndpointsError } from '../spec/errors.ts';

/** How the Hub said no. The two headers tell more than the status, which is ambiguous. */
export interface Refusal {
  status: number;
  /** Header `X-Error-Code`. */
  code: string | null;
  /** Header `X-Error-Message`. */
  message: string | null;
}

/** What was asked for, and by whom. */
export interface Asked {
  endpoint: string;
  repository: string;
  revision: string | null;
  file?: string;
  /** Whether a token was sent along. */
  authenticated: boolean;
}

/** A status after which the same request may succeed later. */
export function isTransient(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

/**
 * The user's error for a refusal, by the rules of the Hub's own client: the header `X-Error-Code` decides where there is
 * one. A bare 401 is ambiguous: the Hub sends it for private and gated repositories and for ones that do not exist.
 */
export function explainRefusal({ status, code, message }: Refusal, asked: Asked): EndpointsError {
  const { repository, endpoint, authenticated } = asked;
  const revision = asked.revision ?? 'main';
  if (code === 'GatedRepo') return gated(asked);
  if (code === 'RevisionNotFound')
    return new EndpointsError(
      'HUB_REVISION',
      `repository '${repository}' on ${endpoint} has no revision '${revision}': name an existing branch, tag or commit`,
    );
  if (code === 'EntryNotFound')
    return new EndpointsError(
      'HUB_NOT_FOUND',
      `repository '${repository}' on ${endpoint} has no file '${asked.file ?? '?'}' at revision '${revision}'`,
    );
  if (message === 'Access to this resource is disabled.')
    return new EndpointsError(
      'HUB_NOT_FOUND',
      `access to repository '${repository}' was disabled on ${endpoint}: choose another repository`,
    );
  if (message === 'Invalid credentials in Authorization header')
    return new EndpointsError(
      'HUB_AUTH',
      `${endpoint} does not accept the Hub token used for '${repository}': it is mistyped, expired or revoked; set a valid one`,
    );
  if (code === 'RepoNotFound' || status === 401 || status === 404)
    return new EndpointsError(
      'HUB_NOT_FOUND',
      authenticated
        ? `repository '${repository}' does not exist on ${endpoint}, or it is private and the Hub token has no access to it`
        : `repository '${repository}' does not exist on ${endpoint}, or it is private or gated and needs a Hub token: the Hub does not tell which (status ${status})`,
    );
  if (status === 403)
    return new EndpointsError(
      'HUB_AUTH',
      `${endpoint} forbids reading '${repository}' with the Hub token used: give it read access to this repository`,
    );
  if (isTransient(status))
    return new EndpointsError(
      'HUB_UNREACHABLE',
      `${endpoint} answered ${status} when asked for '${repository}': it is overloaded or down; try again later`,
    );
  return new EndpointsError(
    'HUB_UNREACHABLE',
    `${endpoint} answered ${status} when asked for '${repository}'${message ? ` (${message})` : ''}: is it a Hub?`,
  );
}

function gated({ endpoint, repository, authenticated }: Asked): EndpointsError {
  const page = `${endpoint}/${repository}`;
  return new EndpointsError(
    'HUB_GATED',
    authenticated
      ? `repository '${repository}' is gated and the owner of the Hub token was not granted access: ask for it at ${page}`
      : `repository '${repository}' is gated: ask for access at ${page} and set a Hub token of that account`,
  );
}
