import { createReadStream } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { damaged, type Fault } from './faults.ts';
import type { Listing, MirrorFile } from './repository.ts';

/** Read from disk at once; larger reads cost fewer turns of the event loop. */
const CHUNK_BYTES = 256 * 1024;

/**
 * A file, or the range of it that was asked for, with the headers by which the Hub's clients cache and check it. The Hub
 * redirects LFS objects to a content network; here they come from the same place.
 */
export async function sendFile(
  req: IncomingMessage,
  res: ServerResponse,
  listing: Listing,
  file: MirrorFile,
  fault: Fault | undefined,
  count: (bytes: number) => void,
): Promise<void> {
  const size = file.sizeBytes;
  const etag = `"${file.sha256 ?? file.gitSha1}"`;
  res.setHeader('etag', etag);
  res.setHeader('x-repo-commit', listing.commit);
  res.setHeader('accept-ranges', fault?.kind === 'ignoreRange' ? 'none' : 'bytes');
  res.setHeader('content-type', 'application/octet-stream');
  if (file.sha256) {
    res.setHeader('x-linked-etag', etag);
    res.setHeader('x-linked-size', size);
  }
  if (req.headers['if-none-match'] === etag) {
    res.writeHead(304).end();
    return;
  }
  const conditional = req.headers['if-range'];
  const wantsRange = fault?.kind !== 'ignoreRange' && (conditional === undefined || conditional === etag);
  const range = wantsRange ? parseRange(req.headers.range, size) : null;
  if (range === 'unsatisfiable') {
    res.writeHead(416, { 'content-range': `bytes */${size}`, 'content-length': 0 }).end();
    return;
  }
  const { start, end } = range ?? { start: 0, end: size };
  if (range) res.setHeader('content-range', `bytes ${start}-${end - 1}/${size}`);
  // A body that is to end early must not have promised its length.
  if (fault?.kind !== 'short') res.setHeader('content-length', end - start);
  res.writeHead(range ? 206 : 200);
  if (req.method === 'HEAD' || start === end) {
    res.end();
    return;
  }
  await send(res, join(listing.dir, file.path), { start, end, fault, count });
}

interface Stretch {
  start: number;
  /** Exclusive. */
  end: number;
  fault: Fault | undefined;
  count: (bytes: number) => void;
}

async function send(res: ServerResponse, path: string, { start, end, fault, count }: Stretch): Promise<void> {
  const gone = new AbortController();
  res.on('close', () => gone.abort());
  const stream = createReadStream(path, { start, end: end - 1, highWaterMark: CHUNK_BYTES });
  try {
    if (fault) await pipeline(Readable.from(counted(damaged(stream, fault, start, gone.signal), count)), res);
    else {
      stream.on('data', (chunk) => count(chunk.length));
      await pipeline(stream, res);
    }
  } catch {
    // The client left, the file was cut under us, or the fault says so: the client sees a body that breaks off.
    res.destroy();
  }
}

async function* counted(body: AsyncIterable<Buffer>, count: (bytes: number) => void) {
  for await (const chunk of body) {
    count(chunk.length);
    yield chunk;
  }
}

/** One range, as RFC 9110 §14.1.2 has it; several at once are answered with the whole file, which it allows. */
function parseRange(header: string | undefined, size: number) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  const [, first = '', last = ''] = match ?? [];
  if (!match || (first === '' && last === '')) return null;
  if (first === '')
    return last === '0' ? 'unsatisfiable' : { start: Math.max(0, size - Number(last)), end: size };
  const start = Number(first);
  const end = last === '' ? size : Math.min(size, Number(last) + 1);
  if (start >= size) return 'unsatisfiable';
  return start < end ? { start, end } : null;
}
