import type { ServerResponse } from 'node:http';

/** Up to this size a part goes out as one string, together with the head if that has not gone. */
const ONE_PIECE_BYTES = 16 * 1024;

/**
 * Writes the body of an answer in as few pieces as there can be. Node itself frames a chunk in four, and sends the head apart
 * from a body that is a buffer: for an answer of a hundred bytes that costs more than all that is decided about it.
 */
export class BodyWriter {
  readonly #res: ServerResponse;
  /** The client is told of the body's parts in chunks, which are framed here. */
  readonly #chunked: boolean;

  /** After the head was written. */
  constructor(res: ServerResponse) {
    this.#res = res;
    this.#chunked = res.chunkedEncoding;
    res.chunkedEncoding = false;
  }

  /** False when the client is to take what it has before there is more; `sent` is called once this has gone out. */
  write(part: Buffer, sent?: () => void): boolean {
    const res = this.#res;
    if (!this.#chunked) return res.write(part, sent);
    if (part.length <= ONE_PIECE_BYTES) return res.write(chunk(part), 'latin1', sent);
    res.write(sizeOf(part), 'latin1');
    res.write(part);
    return res.write('\r\n', 'latin1', sent);
  }

  /** The last part, if it was not written yet, and the end. */
  end(last: Buffer | null): void {
    let text = '';
    if (last !== null && last.length > ONE_PIECE_BYTES) this.write(last);
    else if (last !== null) text = this.#chunked ? chunk(last) : last.toString('latin1');
    this.#res.end(this.#chunked ? `${text}0\r\n\r\n` : text, 'latin1');
  }
}

function chunk(part: Buffer): string {
  return `${sizeOf(part)}${part.toString('latin1')}\r\n`;
}

function sizeOf(part: Buffer): string {
  return `${part.length.toString(16)}\r\n`;
}
