import { Agent, type Dispatcher, request } from 'undici';
import { networkReason } from '../api.ts';

/** A failure after which the same bytes may be had by asking again. */
export class TransientError extends Error {
  override readonly name = 'TransientError';
  /** What the server asked to wait; null when it did not. */
  readonly pauseMs: number | null;
  /** Whether the Hub itself could not be asked, rather than the transfer being cut. */
  readonly unreachable: boolean;

  constructor(
    message: string,
    options: { pauseMs?: number | null; unreachable?: boolean; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.pauseMs = options.pauseMs ?? null;
    this.unreachable = options.unreachable ?? false;
  }
}

export interface RangeRequest {
  url: URL;
  /** Bytes `start` to `end` (exclusive). */
  start: number;
  end: number;
  signal: AbortSignal;
}

export interface RangeResponse {
  status: number;
  header(name: string): string | null;
  body: Dispatcher.ResponseData['body'];
  /** Where the bytes come from in the end. */
  url: URL;
}

const MAX_REDIRECTS = 5;

/**
 * HTTP for files. Redirects are followed here, one by one, because the token may go to the Hub's origin only: what a
 * redirect names is a content network with signed addresses, and none of its business.
 */
export class Transport {
  private readonly agent: Agent;
  private readonly hubOrigin: string;
  private readonly token: string | null;

  /** @param stallMs without a byte for this long, a transfer counts as cut */
  constructor(endpoint: string, token: string | null, stallMs: number) {
    this.hubOrigin = new URL(endpoint).origin;
    this.token = token;
    this.agent = new Agent({
      headersTimeout: stallMs,
      bodyTimeout: stallMs,
      connect: { timeout: Math.min(10_000, stallMs) },
    });
  }

  isHub(url: URL): boolean {
    return url.origin === this.hubOrigin;
  }

  /** @throws TransientError when the network fails before the headers are there */
  async get({ url, start, end, signal }: RangeRequest): Promise<RangeResponse> {
    let at = url;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const response = await this.send(at, { range: `bytes=${start}-${end - 1}` }, signal);
      // Whoever reads the body sees its error; one that breaks while nobody does must not end the process.
      response.body.on('error', () => undefined);
      const header = headerReader(response.headers);
      const location = header('location');
      if (response.statusCode < 300 || response.statusCode >= 400 || location === null)
        return { status: response.statusCode, header, body: response.body, url: at };
      await response.body.dump();
      at = new URL(location, at);
    }
    throw new TransientError(`more than ${MAX_REDIRECTS} redirects from ${url.origin}`);
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async send(url: URL, headers: Record<string, string>, signal: AbortSignal) {
    const authorization = this.token && this.isHub(url) ? { authorization: `Bearer ${this.token}` } : {};
    try {
      return await request(url, {
        dispatcher: this.agent,
        signal,
        // Without this a proxy may compress, and then the bytes are not those of the range.
        headers: { ...headers, ...authorization, 'accept-encoding': 'identity' },
      });
    } catch (error) {
      signal.throwIfAborted();
      throw new TransientError(`${url.origin}: ${networkReason(error)}`, { unreachable: true, cause: error });
    }
  }
}

function headerReader(headers: Record<string, string | string[] | undefined>) {
  return (name: string): string | null => {
    const value = headers[name];
    return (Array.isArray(value) ? value[0] : value) ?? null;
  };
}
