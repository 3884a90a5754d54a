import { EndpointsError } from '../spec/errors.ts';
import { type Asked, explainRefusal, isTransient } from './refusals.ts';
import { askedPauseMs, retryDelayMs, sleep } from './retry.ts';

export interface ApiOptions {
  /** Base address without a trailing slash. */
  endpoint: string;
  token: string | null;
  fetch: typeof fetch;
  /** Of one attempt. */
  timeoutMs: number;
  /** Attempts after the first. */
  retries: number;
}

/** Metadata calls are short and a person may be waiting, so the pauses are too. */
const BACKOFF = { baseMs: 250, maxMs: 5000 };
const MAX_PAUSE_MS = 10_000;

/**
 * `fetch` as the Hub's metadata routes need it, in the shape `@huggingface/hub` takes: the token goes to the Hub's own
 * origin only (a pagination link may name another), refused and failed attempts are repeated where that can help, and a
 * final refusal is thrown as the user's error. That library itself drops the headers which tell refusals apart, and
 * takes no token that does not start with `hf_`.
 * @throws EndpointsError HUB_*
 */
export function apiFetch(
  options: ApiOptions,
  about: Omit<Asked, 'endpoint' | 'authenticated'>,
): typeof fetch {
  const { endpoint, token } = options;
  const asked: Asked = { ...about, endpoint, authenticated: token !== null };
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    if (token && url.origin === new URL(endpoint).origin) headers.set('authorization', `Bearer ${token}`);
    for (let failures = 1; ; failures++) {
      const last = failures > options.retries;
      const response = await attempt(options, url, { ...init, headers }, last, asked);
      if (response && (response.ok || isRedirect(response.status))) return response;
      let pause: number | null = null;
      if (response) {
        await response.body?.cancel();
        const header = (name: string) => response.headers.get(name);
        pause = askedPauseMs(header, Date.now());
        if (last || !isTransient(response.status) || (pause ?? 0) > MAX_PAUSE_MS) {
          const refusal = {
            status: response.status,
            code: header('x-error-code'),
            message: header('x-error-message'),
          };
          throw explainRefusal(refusal, asked);
        }
      }
      await sleep(retryDelayMs(failures, pause, BACKOFF, Math.random()));
    }
  };
}

/** Undefined when nothing came back and another attempt is allowed. */
async function attempt(
  options: ApiOptions,
  url: URL,
  init: RequestInit,
  last: boolean,
  asked: Asked,
): Promise<Response | undefined> {
  try {
    return await options.fetch(url, { ...init, signal: AbortSignal.timeout(options.timeoutMs) });
  } catch (error) {
    if (!last) return undefined;
    throw unreachable(asked, error);
  }
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400;
}

/** The Hub could not be asked at all; the message names the network error. */
export function unreachable({ endpoint, repository }: Asked, error: unknown): EndpointsError {
  return new EndpointsError(
    'HUB_UNREACHABLE',
    `${endpoint} cannot be reached to ask for '${repository}' (${networkReason(error)}): check the network, or point HF_ENDPOINT to a mirror`,
    { cause: error },
  );
}

/** The innermost cause: `fetch failed` hides the reason, such as ECONNREFUSED, in its causes. */
export function networkReason(error: unknown): string {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  if (!(inner instanceof Error)) return String(inner);
  if (inner.name === 'TimeoutError') return 'no answer in time';
  if ('code' in inner && typeof inner.code === 'string') return inner.code;
  return inner.message;
}
