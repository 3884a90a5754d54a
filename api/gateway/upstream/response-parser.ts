/** The head of a response. */
export interface ResponseHead {
  readonly status: number;
  /** '' when the engine says none. */
  readonly statusMessage: string;
  /** Name, value, name, value, in order and case as they came; a byte is a character (Latin-1). */
  readonly headers: readonly string[];
  /** Of the header of that name; '' without one. */
  readonly contentType: string;
  /** The body is compressed or otherwise encoded. */
  readonly encoded: boolean;
}

/** Is told what a response consists of, while `execute` runs. */
export interface ResponseSink {
  /** The final one: interim ones (1xx) are passed over. */
  onHead(head: ResponseHead): void;
  /** A part of the body, which is the receiver's to keep. `last`: `onEnd` follows at once. */
  onBody(bytes: Buffer, last: boolean): void;
  /** The response is complete. */
  onEnd(): void;
}

/** Longer heads, and longer trailers, are refused. */
const MAX_HEAD_BYTES = 32 * 1024;
/** What may stand behind the sizes of chunks, in one response. */
const MAX_EXTENSION_BYTES = 16 * 1024;
/** 2^52 bytes: more than that could not be counted. */
const MAX_SIZE_DIGITS = 13;

/**
 * A whole head, RFC 9112 §4 and §5, in one pass: no folded lines, no blank before a colon, no bare CR or LF, no control
 * characters. What it refuses nobody else is asked to understand.
 */
const HEAD =
  /^HTTP\/1\.[01] [1-9]\d\d(?: [\t\x20-\x7e\x80-\xff]*)?(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*$/;
const LENGTH = /^\d{1,15}$/;

const CR = 13;
const LF = 10;
const SEMICOLON = 59;
const ONE = 49;

/** What the next byte belongs to. */
type State =
  | 'nothing'
  | 'head'
  | 'counted'
  | 'untilClose'
  | 'size'
  | 'extension'
  | 'sizeEnd'
  | 'chunk'
  | 'chunkReturn'
  | 'chunkEnd'
  | 'trailer'
  | 'trailerEnd';

/**
 * Reads HTTP/1.1 responses (RFC 9112) from the bytes of one connection, however they are cut. It is told by `begin` that a
 * request was sent, and reads one response to it. It is as strict as the head's pattern, and more so about where a body
 * ends: a message that two readers could take for different lengths is refused.
 */
export class ResponseParser {
  /** Whether the connection can carry another request; good once the response is complete. */
  keepAlive = false;
  /** How long the engine keeps an idle connection, in seconds, as it said last; null when it has not. */
  keepAliveSeconds: number | null = null;
  readonly #sink: ResponseSink;
  #state: State = 'nothing';
  /** Of a request that was a HEAD. */
  #bodiless = false;
  /** Of a head that comes in parts. */
  #begun = '';
  /** Bytes of the body, or of the chunk, that are still to come. */
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #trailerBytes = 0;
  #lineBytes = 0;

  constructor(sink: ResponseSink) {
    this.#sink = sink;
  }

  /** A response is expected. `bodiless`: the request was a HEAD. */
  begin(bodiless: boolean): void {
    this.#state = 'head';
    this.#bodiless = bodiless;
    this.#begun = '';
  }

  /**
   * Reads the first `length` bytes of `bytes`, which may change afterwards. Returns what is wrong with them, or null; after an
   * error nothing more can be read.
   */
  execute(bytes: Buffer, length: number): string | null {
    let at = 0;
    while (this.#state === 'head' && at < length) {
      const next = this.#takeHead(bytes, at, length);
      if (typeof next === 'string') return next;
      at = next;
    }
    if (at === length) return null;
    if (this.#state === 'counted') this.#takeCounted(bytes, at, length);
    else if (this.#state === 'untilClose') this.#sink.onBody(copy(bytes, at, length), false);
    else if (this.#state !== 'nothing') return this.#takeChunked(bytes, at, length);
    return null;
  }

  /** The connection has ended; that is the end of the response as well when no length was told. */
  finish(): void {
    if (this.#state === 'untilClose') this.#end(true);
  }

  /** `exactly`: there is nothing after it. More than was asked for makes the rest of the connection worthless. */
  #end(exactly: boolean): void {
    this.#state = 'nothing';
    this.keepAlive &&= exactly;
    this.#sink.onEnd();
  }

  /** Returns the place after it, or what is wrong. */
  #takeHead(bytes: Buffer, at: number, length: number): number | string {
    const begun = this.#begun;
    const text = begun + bytes.toString('latin1', at, Math.min(length, at + MAX_HEAD_BYTES));
    const end = text.indexOf('\r\n\r\n', Math.max(begun.length - 3, 0));
    if (end > MAX_HEAD_BYTES || (end < 0 && text.length >= MAX_HEAD_BYTES))
      return `its head is longer than ${MAX_HEAD_BYTES / 1024} KiB`;
    if (end < 0) {
      this.#begun = text;
      return length;
    }
    this.#begun = '';
    const head = text.slice(0, end);
    if (!HEAD.test(head)) return 'its head is not one of HTTP/1.1';
    const after = at + end + 4 - begun.length;
    return this.#readHead(head, after === length) ?? after;
  }

  /** Returns what is wrong. `last`: no bytes follow it for now. */
  #readHead(text: string, last: boolean): string | null {
    const status = Number(text.slice(9, 12));
    if (status === 101) return 'it changes to another protocol without being asked';
    if (status < 200) return null;
    const headers: string[] = [];
    let contentType = '';
    let encoded = false;
    let contentLength: string | null = null;
    let coding: string | null = null;
    this.keepAlive = text.charCodeAt(7) === ONE;
    let at = lineEnd(text, 0);
    const statusMessage = text.slice(13, at);
    for (at += 2; at < text.length; ) {
      const colon = text.indexOf(':', at);
      const end = lineEnd(text, colon);
      const name = text.slice(at, colon);
      const value = withoutBlanks(text, colon + 1, end);
      headers.push(name, value);
      at = end + 2;
      // Only names of the right length are looked at further.
      switch (name.length) {
        case 10:
          this.#readConnection(name.toLowerCase(), value);
          break;
        case 12:
          if (name.toLowerCase() === 'content-type') contentType = value;
          break;
        case 14:
          if (name.toLowerCase() !== 'content-length') break;
          if (contentLength !== null || !LENGTH.test(value)) return 'its length is not one number';
          contentLength = value;
          break;
        case 16:
          if (name.toLowerCase() === 'content-encoding') encoded = true;
          break;
        case 17:
          if (name.toLowerCase() !== 'transfer-encoding') break;
          if (coding !== null || value.toLowerCase() !== 'chunked')
            return "its Transfer-Encoding is not 'chunked'";
          coding = value;
          break;
        default:
      }
    }
    if (coding !== null && (contentLength !== null || text.charCodeAt(7) !== ONE))
      return 'it says in two ways where it ends';
    const bodiless = this.#bodiless || status === 204 || status === 304;
    this.#left = Number(contentLength ?? 0);
    if (coding !== null) this.#beginChunk();
    else if (contentLength !== null) this.#state = 'counted';
    else {
      this.#state = 'untilClose';
      if (!bodiless) this.keepAlive = false;
    }
    this.#extensionBytes = 0;
    this.#trailerBytes = 0;
    this.#sink.onHead({ status, statusMessage, headers, contentType, encoded });
    if (bodiless || (this.#state === 'counted' && this.#left === 0)) this.#end(last);
    return null;
  }

  #readConnection(name: string, value: string): void {
    if (name === 'connection') {
      if (value === 'keep-alive') return;
      for (const option of value.toLowerCase().split(','))
        if (option.trim() === 'close') this.keepAlive = false;
    } else if (name === 'keep-alive') {
      const seconds = /(?:^|[\s,;])timeout=(\d{1,9})/i.exec(value)?.[1];
      if (seconds !== undefined) this.keepAliveSeconds = Number(seconds);
    }
  }

  #takeCounted(bytes: Buffer, at: number, length: number): void {
    const end = Math.min(at + this.#left, length);
    this.#left -= end - at;
    this.#sink.onBody(copy(bytes, at, end), this.#left === 0);
    if (this.#left === 0) this.#end(end === length);
  }

  #beginChunk(): void {
    this.#state = 'size';
    this.#left = 0;
    this.#digits = 0;
  }

  /** Returns what is wrong. Chunks that came together are told as one part of the body. */
  #takeChunked(bytes: Buffer, from: number, length: number): string | null {
    let body: Buffer | null = null;
    let filled = 0;
    for (let at = from; at < length; ) {
      if (this.#state === 'chunk') {
        const end = Math.min(at + this.#left, length);
        body ??= Buffer.allocUnsafe(length - at);
        filled += bytes.copy(body, filled, at, end);
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#state = 'chunkReturn';
        continue;
      }
      const error = this.#takeFraming(bytes[at] as number);
      if (error !== null) return error;
      at += 1;
      // `takeFraming` has come to the end of the trailer.
      if ((this.#state as State) !== 'nothing') continue;
      if (body !== null) this.#sink.onBody(body.subarray(0, filled), true);
      this.#end(at === length);
      return null;
    }
    if (body !== null) this.#sink.onBody(body.subarray(0, filled), false);
    return null;
  }

  /** One byte of what is around chunks. Returns what is wrong with it. */
  #takeFraming(byte: number): string | null {
    switch (this.#state) {
      case 'size': {
        const digit = hexadecimal(byte);
        if (digit >= 0) {
          this.#digits += 1;
          this.#left = this.#left * 16 + digit;
          return this.#digits > MAX_SIZE_DIGITS ? BROKEN_CHUNK : null;
        }
        if (this.#digits === 0) return BROKEN_CHUNK;
        if (byte === CR) this.#state = 'sizeEnd';
        else if (byte === SEMICOLON) this.#state = 'extension';
        else return BROKEN_CHUNK;
        return null;
      }
      case 'extension':
        if (byte === LF || ++this.#extensionBytes > MAX_EXTENSION_BYTES) return BROKEN_CHUNK;
        if (byte === CR) this.#state = 'sizeEnd';
        return null;
      case 'sizeEnd':
        this.#state = this.#left === 0 ? 'trailer' : 'chunk';
        this.#lineBytes = 0;
        return byte === LF ? null : BROKEN_CHUNK;
      case 'chunkReturn':
        this.#state = 'chunkEnd';
        return byte === CR ? null : BROKEN_CHUNK;
      case 'chunkEnd':
        this.#beginChunk();
        return byte === LF ? null : BROKEN_CHUNK;
      case 'trailer':
        if (byte === LF || ++this.#trailerBytes > MAX_HEAD_BYTES) return BROKEN_TRAILER;
        if (byte === CR) this.#state = 'trailerEnd';
        else this.#lineBytes += 1;
        return null;
      default:
        this.#state = this.#lineBytes === 0 ? 'nothing' : 'trailer';
        this.#lineBytes = 0;
        return byte === LF ? null : BROKEN_TRAILER;
    }
  }
}

const BROKEN_CHUNK = 'one of its chunks does not begin or end as chunks do';
const BROKEN_TRAILER = 'what follows its last chunk is no trailer';

function copy(bytes: Buffer, from: number, to: number): Buffer {
  const own = Buffer.allocUnsafe(to - from);
  bytes.copy(own, 0, from, to);
  return own;
}

/** Of the line that `from` is in. */
function lineEnd(text: string, from: number): number {
  const end = text.indexOf('\r\n', from);
  return end < 0 ? text.length : end;
}

/** A part of the text without blanks and tabs around it; not `trim`, which takes more for blank, such as a byte of `à` in UTF-8. */
function withoutBlanks(text: string, from: number, to: number): string {
  let begin = from;
  let end = to;
  while (begin < end && isBlank(text.charCodeAt(begin))) begin += 1;
  while (end > begin && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(begin, end);
}

const isBlank = (code: number) => code === 32 || code === 9;

/** The value of a hexadecimal digit; -1 for any other byte. */
function hexadecimal(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
