import type { IncomingMessage } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';

/** A request's body on its way through. */
export interface RequestBody {
  /** Bytes held in memory. */
  readonly bytes: number;
  /** May be sent more than once. */
  readonly replayable: boolean;
  /** What to hand to undici; the same object at every call. */
  open(): Buffer | Readable | null;
}

const NONE: RequestBody = { bytes: 0, replayable: true, open: () => null };

/** Length as declared; null when the body is chunked, 0 when there is none. */
export function declaredLength(req: IncomingMessage): number | null {
  if (req.headers['transfer-encoding'] !== undefined) return null;
  return Number(req.headers['content-length'] ?? 0);
}

/**
 * Takes in a body of up to `limitBytes` and calls `done` when it is complete, so that it can be sent again to another
 * replica. A larger one is left with the client, `done` is called at once, and `open()` streams it. A client that
 * leaves meanwhile ends it without a call.
 */
export function takeBody(req: IncomingMessage, limitBytes: number, done: (body: RequestBody) => void): void {
  const length = declaredLength(req);
  if (length === 0) done(NONE);
  else if (length !== null && length > limitBytes) done(streamed(req, [], 0));
  else collect(req, limitBytes, done);
}

function collect(req: IncomingMessage, limitBytes: number, done: (body: RequestBody) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const onData = (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes <= limitBytes) return;
    // Longer than it was worth keeping, and it had not said so: stream it, beginning with what has come.
    req.pause();
    req.off('data', onData);
    req.off('end', onEnd);
    done(streamed(req, chunks, bytes));
  };
  const onEnd = () => {
    const buffer = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes);
    done({ bytes, replayable: true, open: () => buffer });
  };
  req.on('data', onData);
  req.on('end', onEnd);
}

function streamed(req: IncomingMessage, begin: Buffer[], bytes: number): RequestBody {
  let stream: PassThrough | null = null;
  const open = () => {
    if (stream) return stream;
    // Between the two, so that an engine that stops reading does not take the client's connection with it.
    stream = new PassThrough();
    for (const chunk of begin) stream.write(chunk);
    stream.once('close', () => {
      req.unpipe();
      req.resume();
    });
    req.pipe(stream);
    return stream;
  };
  return { bytes, replayable: false, open };
}
