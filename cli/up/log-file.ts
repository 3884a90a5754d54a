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

/** The last lines that were written after `startedAt`, at most 4 KiB of them. */
export function logTail(file: string, startedAt: number, lines = 5): string[] {
  const fd = openSync(file, 'r');
  try {
    const end = statSync(file).size;
    const begin = Math.max(startedAt, end - 4096);
    const buffer = Buffer.alloc(Math.max(0, end - begin));
    readSync(fd, buffer, 0, buffer.length, begin);
    return buffer.toString('utf8').split('\n').filter(Boolean).slice(-lines).map(messageOf);
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
