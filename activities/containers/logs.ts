import { stripVTControlCharacters } from 'node:util';
import type Docker from 'dockerode';
import { redact } from './redact.ts';

/** The cause stands above the tracebacks of everything that failed for it, in vLLM by hundreds of lines. */
const MAX_LINES = 400;
/** Of that log, against lines without an end. */
const MAX_LOG_BYTES = 256 * 1024;
/** What a `Failure` may carry. */
const MAX_BYTES = 4096;
/** Docker's framing of a container without a terminal: stream, three zero bytes, length (big-endian). */
const HEADER_BYTES = 8;

/**
 * The last 400 lines of a container's log, both streams in the order they were written, secrets replaced. Empty when the
 * log cannot be read: what is being reported matters more than its log. A failure carries only {@link tailOf} it.
 */
export async function readLog(docker: Docker, id: string, secrets: readonly string[]): Promise<string> {
  try {
    const options = { stdout: true, stderr: true, tail: MAX_LINES, follow: false } as const;
    const frames: Buffer = await docker.getContainer(id).logs(options);
    return tailOf(redact(readable(demultiplex(frames)), secrets), MAX_LOG_BYTES);
  } catch {
    return '';
  }
}

/** The payload of Docker's multiplexed log stream. */
export function demultiplex(frames: Buffer): string {
  const parts: Buffer[] = [];
  let at = 0;
  while (at + HEADER_BYTES <= frames.length) {
    const length = frames.readUInt32BE(at + 4);
    parts.push(frames.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length));
    at += HEADER_BYTES + length;
  }
  return Buffer.concat(parts).toString('utf8');
}

/** Without colours, and of a progress bar only its last state. */
function readable(text: string): string {
  return stripVTControlCharacters(text)
    .split('\n')
    .map((line) => line.replace(/\r$/, '').replace(/^.*\r/, ''))
    .join('\n')
    .trim();
}

/** Whole lines from the end; of a single line that is too long, its end. */
export function tailOf(text: string, maxBytes = MAX_BYTES): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return text;
  const end = bytes.subarray(bytes.length - maxBytes);
  const newline = end.indexOf(0x0a);
  if (newline >= 0 && newline < end.length - 1) return end.subarray(newline + 1).toString('utf8');
  // A cut inside a character leaves continuation bytes (10xxxxxx) in front.
  const start = end.findIndex((byte) => (byte & 0xc0) !== 0x80);
  return end.subarray(start).toString('utf8');
}
