import type { Part, PartialFile } from './partial.ts';

/** Enough to be worth a write; less waits for more, but no longer than `FLUSH_MS`. */
const BATCH_BYTES = 256 * 1024;
/** What arrived in this time is all that is lost when the process is killed. */
const FLUSH_MS = 10;
/** Bytes that may wait in memory for the disk, per part; beyond it the connection is not read. */
const MAX_PENDING_BYTES = 1 << 20;

/**
 * Writes a body to its place. Returns when all that came is on disk, also when the stream broke off, and then throws what
 * broke it.
 * @param skip bytes of the body before those the part still needs
 */
export async function receive(
  body: AsyncIterable<Buffer>,
  file: PartialFile,
  part: Part,
  skip: number,
  onWritten: (bytes: number) => void,
): Promise<void> {
  const writer = new BatchWriter(async (chunks, bytes) => {
    await file.write(part, chunks, bytes);
    onWritten(bytes);
  });
  let wanted = part.end - part.start - part.received;
  try {
    for await (const chunk of body) {
      const skipped = Math.min(skip, chunk.length);
      skip -= skipped;
      const useful = chunk.subarray(skipped, skipped + wanted);
      wanted -= useful.length;
      if (useful.length > 0) await writer.add(useful);
      // Not at the last byte wanted: a body read to its end leaves the connection fit for the next request.
      if (skipped + useful.length < chunk.length) break;
    }
  } finally {
    await writer.end();
  }
}

/** Gathers chunks and writes them one batch after the other. An error of a write is thrown by the next call. */
class BatchWriter {
  private readonly write: (chunks: Buffer[], bytes: number) => Promise<void>;
  private chunks: Buffer[] = [];
  private bytes = 0;
  private timer: NodeJS.Timeout | null = null;
  private writing: Promise<void> | null = null;
  private failure: { error: unknown } | null = null;

  constructor(write: (chunks: Buffer[], bytes: number) => Promise<void>) {
    this.write = write;
  }

  /** Returns at once unless too much waits already. */
  async add(chunk: Buffer): Promise<void> {
    this.throwFailure();
    this.chunks.push(chunk);
    this.bytes += chunk.length;
    if (this.bytes >= BATCH_BYTES) this.flush();
    else if (!this.timer) this.timer = setTimeout(() => this.flush(), FLUSH_MS);
    if (this.bytes > MAX_PENDING_BYTES) await this.writing;
  }

  /** Returns when everything is written. */
  async end(): Promise<void> {
    await this.writing;
    this.flush();
    await this.writing;
    this.throwFailure();
  }

  private flush(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    if (!this.writing && this.bytes > 0 && !this.failure) this.writing = this.drain();
  }

  /** Goes on while a batch is full; a smaller rest waits for its timer. */
  private async drain(): Promise<void> {
    do {
      const [chunks, bytes] = [this.chunks, this.bytes];
      this.chunks = [];
      this.bytes = 0;
      try {
        await this.write(chunks, bytes);
      } catch (error) {
        this.failure = { error };
      }
    } while (this.bytes >= BATCH_BYTES && !this.failure);
    this.writing = null;
    if (this.bytes > 0 && !this.timer) this.timer = setTimeout(() => this.flush(), FLUSH_MS);
  }

  private throwFailure(): void {
    if (this.failure) throw this.failure.error;
  }
}
