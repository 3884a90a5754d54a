import type { Part, PartialFile } from './partial.ts';

/** Bytes that may wait in memory for the disk, per part; beyond it the connection is not read. */
const MAX_PENDING_BYTES = 1 << 20;

/**
 * Writes a body to its place as fast as it comes: while one write runs, what arrives is gathered for the next, so a slow
 * stream is on disk at once and a fast one is written in large pieces. Returns when all that came is on disk, also when
 * the stream broke off, and then throws what broke it.
 * @param skip bytes of the body before those the part still needs
 */
export async function receive(
  body: AsyncIterable<Buffer>,
  file: PartialFile,
  part: Part,
  skip: number,
  onWritten: (bytes: number) => void,
): Promise<void> {
  let wanted = part.end - part.start - part.received;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let writing: Promise<void> | null = null;
  let failed: { error: unknown } | null = null;

  const drain = async () => {
    while (pendingBytes > 0 && !failed) {
      const [chunks, bytes] = [pending, pendingBytes];
      pending = [];
      pendingBytes = 0;
      try {
        await file.write(part, chunks, bytes);
        onWritten(bytes);
      } catch (error) {
        failed = { error };
      }
    }
    writing = null;
  };

  try {
    for await (const chunk of body) {
      let rest = chunk;
      if (skip > 0) {
        const skipped = Math.min(skip, rest.length);
        skip -= skipped;
        rest = rest.subarray(skipped);
      }
      const surplus = rest.length > wanted;
      if (surplus) rest = rest.subarray(0, wanted);
      if (rest.length > 0) {
        wanted -= rest.length;
        pending.push(rest);
        pendingBytes += rest.length;
        if (!writing) writing = drain();
      }
      if (pendingBytes > MAX_PENDING_BYTES) await writing;
      // Not at the last byte wanted: a body read to its end leaves the connection fit for the next request.
      if (failed || surplus) break;
    }
  } finally {
    await writing;
  }
  throwIfFailed(failed);
}

function throwIfFailed(failed: { error: unknown } | null): void {
  if (failed) throw failed.error;
}
