import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { completion, PATH, type Target } from './client.ts';

export interface WrkResult {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
}

/** Runs `wrk` with one thread against the cheapest completion. @throws Error when an answer was not 2xx or a connection failed */
export async function wrk(
  target: Target,
  options: { connections: number; seconds: number; dir: string },
): Promise<WrkResult> {
  const { connections, seconds, dir } = options;
  const script = join(dir, `wrk-${target.port}.lua`);
  const headers = target.headers.map(
    (line) => `wrk.headers[${JSON.stringify(line.split(': ')[0])}] = ${JSON.stringify(line.split(': ')[1])}`,
  );
  await writeFile(
    script,
    [
      'wrk.method = "POST"',
      `wrk.body = [[${completion('fast')}]]`,
      'wrk.headers["content-type"] = "application/json"',
      ...headers,
    ].join('\n'),
  );
  const url = `http://127.0.0.1:${target.port}${target.prefix}${PATH}`;
  const child = spawn('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', '-s', script, url], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const out = await text(child.stdout);
  if (/Non-2xx|Socket errors/.test(out)) throw new Error(`wrk on ${url}:\n${out}`);
  const value = (pattern: RegExp) => pattern.exec(out)?.[1] ?? Number.NaN.toString();
  return {
    perSecond: Number(value(/Requests\/sec: +([\d.]+)/)),
    p50Ms: milliseconds(value(/50% +(\S+)/)),
    p99Ms: milliseconds(value(/99% +(\S+)/)),
  };
}

/** wrk writes `86.00us`, `1.20ms`, `1.02s`. */
function milliseconds(text: string): number {
  if (text.endsWith('us')) return Number.parseFloat(text) / 1000;
  return text.endsWith('ms') ? Number.parseFloat(text) : Number.parseFloat(text) * 1000;
}
