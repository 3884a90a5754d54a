import type { IncomingMessage } from 'node:http';
import { PassThrough, type Readable, Transform, type TransformCallback } from 'node:stream';

/** A request's body on its way through. */
export interface RequestBody {
  /** Bytes held in memory. */
  readonly bytes: number;
  /** Bytes that have come from the client by now. */
  readonly received: number;
  /** May be sent more than once. */
  readonly replayable: boolean;
  /** What to send; the same object at every call. */
  open(): Buffer | Readable | null;
}

/** Length as declared; null when the body is chunked, 0 when there is none. */
export function declaredLength(req: IncomingMessage): number | null {
  if (req.headers['transfer-encoding'] !== undefined) return null;
  return Number(req.headers['content-length'] ?? 0);
}

/** How much a body may be, and what to do when it turns out to be more. A declared length is checked before. */
export interface BodyLimit {
  readonly bytes: number;
  exceeded(): void;
}

/**
 * Takes in a body of up to `limitBytes` and calls `done` when it is complete, so that it can be sent again to another
 * replica. A larger one is left with the client, `done` is called at once, and `open()` streams it. A client that
 * leaves meanwhile ends it without a call.
 */
export function takeBody(
  req: IncomingMessage,
  limitBytes: number,
  done: (body: RequestBody) => void,
  limit: BodyLimit | null = null,
): void {
  const length = declaredLength(req);
  if (length === 0) done(NONE);
  else if (length !== null && length > limitBytes) done(new StreamedBody(req, [], 0, null));
  else new Collector(req, limitBytes, done, length === null ? limit : null);
}

/** A body in memory. */
export class BufferedBody implements RequestBody {
  readonly replayable = true;
  readonly buffer: Buffer | null;

  constructor(buffer: Buffer | null) {
    this.buffer = buffer;
  }

  get bytes(): number {
    return this.buffer?.length ?? 0;
  }

  get received(): number {
    return this.bytes;
  }

  open(): Buffer | null {
    return this.buffer;
  }
}

const NONE = new BufferedBody(null);

/** What has come of a body so far. */
class Collector {
  readonly #req: IncomingMessage;
  readonly #limitBytes: number;
  readonly #done: (body: RequestBody) => void;
  readonly #limit: BodyLimit | null;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #over = false;

  constructor(
    req: IncomingMessage,
    limitBytes: number,
    done: (body: RequestBody) => void,
    limit: BodyLimit | null,
  ) {
    this.#req = req;
    this.#limitBytes = limitBytes;
    this.#done = done;
    this.#limit = limit;
    req.on('data', (chunk: Buffer) => this.#take(chunk));
    req.on('end', () => this.#end());
  }

  #take(chunk: Buffer): void {
    if (this.#over) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#limit && this.#bytes > this.#limit.bytes) {
      this.#over = true;
      this.#chunks.length = 0;
      this.#limit.exceeded();
      return;
    }
    if (this.#bytes <= this.#limitBytes) return;
    // Longer than it was worth keeping, and it had not said so: stream it, beginning with what has come.
    this.#over = true;
    this.#req.pause();
    this.#req.removeAllListeners('data');
    this.#done(new StreamedBody(this.#req, this.#chunks, this.#bytes, this.#limit));
  }

  #end(): void {
    if (this.#over) return;
    const [first] = this.#chunks;
    const whole = first && this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks, this.#bytes);
    this.#done(new BufferedBody(whole));
  }
}

/** A body that goes through once. */
class StreamedBody implements RequestBody {
  readonly replayable = false;
  readonly bytes: number;
  readonly #req: IncomingMessage;
  readonly #begin: readonly Buffer[];
  readonly #limit: BodyLimit | null;
  #stream: Transform | null = null;
  #passed = 0;

  constructor(req: IncomingMessage, begin: readonly Buffer[], bytes: number, limit: BodyLimit | null) {
    this.#req = req;
    this.#begin = begin;
    this.#limit = limit;
    this.bytes = bytes;
  }

  get received(): number {
    return this.bytes + this.#passed;
  }

  open(): Readable {
    if (this.#stream) return this.#stream;
    this.#req.on('data', (chunk: Buffer) => {
      this.#passed += chunk.length;
    });
    // Between the two, so that an engine that stops reading does not take the client's connection with it.
    const stream = this.#limit ? limited(this.#limit) : new PassThrough();
    this.#stream = stream;
    for (const chunk of this.#begin) stream.write(chunk);
    stream.once('close', () => {
      this.#req.unpipe();
      this.#req.resume();
    });
    this.#req.pipe(stream);
    return stream;
  }
}

/** Passes on what fits, and ends in an error where there is more. */
function limited(limit: BodyLimit): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback) {
      bytes += chunk.length;
      if (bytes <= limit.bytes) return done(null, chunk);
      limit.exceeded();
      done(new Error('the body is too large'));
    },
  });
}
