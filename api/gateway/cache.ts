import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Endpoint } from './snapshot.ts';
import type { ResponseHead } from './upstream/response-parser.ts';

/** An answer that can be given again. */
export interface CachedAnswer {
  readonly status: number;
  /** Name, value, name, value; without what belongs to one request. */
  readonly headers: readonly string[];
  readonly body: Buffer;
}

interface Entry extends CachedAnswer {
  readonly bytes: number;
  /** Of a monotonic clock. */
  expiresAt: number;
}

/** Public API: answers are kept for 60 minutes, and every hit begins them anew. */
const TTL_MS = 3_600_000;
/** One large answer must not push out a thousand small ones. */
const MAX_BODY_BYTES = 1024 * 1024;
/** What an entry costs besides its body: key, headers, objects. */
const OVERHEAD_BYTES = 1024;

/** Answers of endpoints that ask for it, in this process's memory, the least recently used ones out first. */
export class ResponseCache {
  readonly #entries = new Map<string, Entry>();
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(key: string, now: number): CachedAnswer | null {
    const entry = this.#entries.get(key);
    if (!entry) return null;
    this.#remove(key, entry);
    if (entry.expiresAt <= now) return null;
    entry.expiresAt = now + TTL_MS;
    this.#add(key, entry);
    return entry;
  }

  put(key: string, answer: CachedAnswer, now: number): void {
    const old = this.#entries.get(key);
    if (old) this.#remove(key, old);
    this.#add(key, { ...answer, bytes: answer.body.length + OVERHEAD_BYTES, expiresAt: now + TTL_MS });
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#remove(oldest, entry);
    }
  }

  #add(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
  }

  #remove(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}

/** Of a request's headers, those an answer may depend on. */
const TELLING = ['accept', 'accept-encoding', 'accept-language', 'content-type', 'content-encoding'] as const;
const MAY_VARY: ReadonlySet<string> = new Set(['', 'origin', ...TELLING]);

/**
 * What two requests with the same answer have in common: the endpoint in one revision, method, target, telling headers,
 * body. Null when the answer is not to be taken from the cache, nor to be kept: another method, a wish of the caller
 * (`x-use-cache: false`), an upload that is not kept in memory.
 */
export function cacheKey(
  req: IncomingMessage,
  endpoint: Pick<Endpoint, 'id' | 'revision'>,
  path: string,
  body: Buffer | null,
): string | null {
  if (req.method !== 'POST' && req.method !== 'GET') return null;
  if (String(req.headers['x-use-cache']).toLowerCase() === 'false') return null;
  const hash = createHash('sha256');
  const told = TELLING.map((name) => req.headers[name] ?? null);
  hash.update(JSON.stringify([endpoint.id, endpoint.revision, req.method, path, told]));
  if (body) hash.update(body);
  return hash.digest('base64');
}

/** Takes down an answer while it goes through. */
export class Recording {
  readonly #key: string;
  readonly #status: number;
  readonly #headers: readonly string[];
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(key: string, status: number, headers: readonly string[]) {
    this.#key = key;
    this.#status = status;
    this.#headers = headers;
  }

  note(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes <= MAX_BODY_BYTES) this.#chunks.push(chunk);
    else this.#chunks.length = 0;
  }

  /** The answer is complete. */
  keep(cache: ResponseCache, now: number): void {
    if (this.#bytes > MAX_BODY_BYTES) return;
    // A copy: the chunks are parts of larger buffers, which would be kept alive with them.
    cache.put(
      this.#key,
      { status: this.#status, headers: this.#headers, body: Buffer.concat(this.#chunks) },
      now,
    );
  }
}

/** Whether an answer of the engine may be given to others. */
export function mayKeep({ status, headers, contentType }: ResponseHead): boolean {
  if (status < 200 || status > 299 || status === 206) return false;
  if (contentType.startsWith('text/event-stream')) return false;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]?.toLowerCase();
    const value = headers[i + 1]?.toLowerCase() ?? '';
    if (name === 'set-cookie') return false;
    if (name === 'cache-control' && /no-store|private/.test(value)) return false;
    if (name === 'vary' && !value.split(',').every((on) => MAY_VARY.has(on.trim()))) return false;
  }
  return true;
}
