import { closeSync, existsSync, mkdirSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

const ROTATE_BYTES = 10 * 1024 * 1024;

/** Opens a process's log for appending; one that has grown large is kept once, as `<file>.1`, and begun anew. */
export function openLogFile(file: string): { fd: number; startedAt: number } {
  mkdirSync(dirname(file), { recursive: true });
  if (existsSync(file) && statSync(file).size > ROTATE_BYTES) renameSync(file, `${file}.1`);
  const startedAt = existsSync(file) ? statSync(file).size : 0;
  return { fd: openSync(file, 'a', 0o600), startedAt };
}

const TAIL_BYTES = 8192;

/**
 * What a process that ended says in its log about why, from what it wrote after `startedAt`: its last line that names
 * an error, else its last three lines.
 */
export function lastWords(file: string, startedAt: number): string {
  const lines = tail(file, startedAt).split('\n').filter(Boolean).map(messageOf);
  const error = lines.findLast((line) => /^(?:\w*Error\b|panic:|fatal:|FATAL:|error:)/.test(line.trim()));
  return error ?? lines.slice(-3).join(' | ');
}

function tail(file: string, startedAt: number): string {
  const fd = openSync(file, 'r');
  try {
    const { size } = statSync(file);
    const begin = Math.max(startedAt, size - TAIL_BYTES);
    const buffer = Buffer.alloc(Math.max(0, size - begin));
    readSync(fd, buffer, 0, buffer.length, begin);
    return buffer.toString('utf8');
  } finally {
    closeSync(fd);
  }
}

/** Our own processes write JSON lines; what a person wants of them is the message and the error's. */
function messageOf(line: string): string {
  if (!line.startsWith('{')) return line;
  try {
    const entry = JSON.parse(line) as { msg?: string; err?: { message?: string } };
    const text = [entry.msg, entry.err?.message].filter(Boolean).join(': ');
    return text || line;
  } catch {
    return line;
  }
}
