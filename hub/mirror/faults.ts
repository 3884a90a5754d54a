import { setTimeout as delay } from 'node:timers/promises';

/**
 * What can be made to go wrong with one request, so that tests meet a bad network through the real client path. Offsets
 * are those of the file, not of the range.
 */
export type Fault =
  /** Answers this instead; `headers` for `Retry-After` and the like. */
  | { kind: 'status'; status: number; headers?: Record<string, string> }
  /** Sends the client elsewhere, as the Hub sends it to its content network. */
  | { kind: 'redirect'; location: string }
  /** Destroys the connection after so many bytes of the body. */
  | { kind: 'cut'; afterBytes: number }
  /** Ends the body properly, but early. */
  | { kind: 'short'; afterBytes: number }
  /** Sends so many bytes of the body and then nothing, for as long as the client waits. */
  | { kind: 'stall'; afterBytes: number }
  /** Inverts the byte at this offset of the file. */
  | { kind: 'flip'; atByte: number }
  | { kind: 'slow'; bytesPerSecond: number }
  /** Answers 200 with the whole file to a request for a range. */
  | { kind: 'ignoreRange' };

/** The body of an answer, damaged as told. `start` is the offset of its first byte in the file. */
export async function* damaged(
  body: AsyncIterable<Buffer>,
  fault: Fault,
  start: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let sent = 0;
  for await (const chunk of body) {
    if (fault.kind === 'slow') {
      yield* slowly(chunk, fault.bytesPerSecond, signal);
    } else if (fault.kind === 'flip') {
      const index = fault.atByte - start - sent;
      const copy = Buffer.from(chunk);
      const byte = copy[index];
      if (byte !== undefined) copy[index] = byte ^ 0xff;
      yield copy;
    } else if (fault.kind === 'cut' || fault.kind === 'short' || fault.kind === 'stall') {
      const left = fault.afterBytes - sent;
      if (left > 0) yield chunk.subarray(0, left);
      if (chunk.length >= left) {
        if (fault.kind === 'cut') throw new Error('cut');
        if (fault.kind === 'stall') await aborted(signal);
        return;
      }
    } else {
      yield chunk;
    }
    sent += chunk.length;
  }
}

/** In slices of a hundredth of a second. */
async function* slowly(chunk: Buffer, bytesPerSecond: number, signal: AbortSignal): AsyncGenerator<Buffer> {
  const slice = Math.max(1, Math.floor(bytesPerSecond / 100));
  for (let at = 0; at < chunk.length; at += slice) {
    yield chunk.subarray(at, at + slice);
    await delay(10, undefined, { signal });
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
