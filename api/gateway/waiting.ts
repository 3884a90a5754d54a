import type { ServerResponse } from 'node:http';

/** First comment, and every next one: well below the 30 to 60 s after which common proxies drop a silent connection. */
const FIRST_MS = 1000;
const EVERY_MS = 10_000;

/**
 * Tells a caller of an event stream that its request waits for a replica: the head of the answer goes out early, and
 * comments follow, which every reader of event streams passes over. From then on the status is 200, whatever comes.
 */
export class WaitingStream {
  readonly #res: ServerResponse;
  readonly #headers: readonly string[];
  readonly #status: () => string;
  #timer: NodeJS.Timeout | undefined;
  #began = false;

  /** `status` is what a comment says: `state=initializing position=2`. */
  constructor(res: ServerResponse, headers: readonly string[], status: () => string) {
    this.#res = res;
    this.#headers = headers;
    this.#status = status;
  }

  /** The head is out. */
  get began(): boolean {
    return this.#began;
  }

  start(): void {
    this.#timer ??= setTimeout(() => this.#say(), this.#began ? EVERY_MS : FIRST_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #say(): void {
    this.#timer = undefined;
    if (this.#res.destroyed || this.#res.writableEnded) return;
    if (!this.#began) {
      this.#began = true;
      this.#res.writeHead(200, [
        'content-type',
        'text/event-stream',
        'cache-control',
        'no-cache',
        ...this.#headers,
      ]);
    }
    this.#res.write(`: waiting ${this.#status()}\n\n`);
    this.start();
  }
}

/** One event that ends a stream which cannot end well. */
export function errorEvent(error: { message: string; type: string; code: number | string }): string {
  // The blank line before it ends whatever event was cut in two.
  return `\n\nevent: error\ndata: ${JSON.stringify({ error })}\n\n`;
}

/** Whether a request asks for an event stream: by its `Accept`, or as the OpenAI API does, in its body. */
export function wantsEventStream(accept: string | undefined, body: Buffer | null): boolean {
  if (accept?.includes('text/event-stream')) return true;
  return body !== null && /(?<!\\)"stream"\s*:\s*true/.test(body.toString('latin1'));
}
