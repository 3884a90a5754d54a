import { spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { STREAMS } from './native.ts';
import { stamp } from './stamp.ts';

/** Where and how to ask one proxy. */
export interface Target {
  port: number;
  /** Put before the upstream's path. */
  prefix: string;
  /** Header lines. */
  headers: readonly string[];
}

/** Load on bare sockets: node's own HTTP client costs more than most of the proxies. All times are milliseconds. */

/** What every completion is asked at. */
export const PATH = '/v1/chat/completions';

/** The body of a completion, 1 KiB; what the upstream is to do stands in `model`. */
export function completion(model: string): string {
  const stream = model !== 'fast';
  return JSON.stringify({ model, stream, messages: [{ role: 'user', content: 'x'.repeat(940) }] });
}

/** One completion as it goes over the wire. */
export function requestText(target: Target, model: string): string {
  const body = completion(model);
  const lines = [
    `POST ${target.prefix}${PATH} HTTP/1.1`,
    `host: 127.0.0.1:${target.port}`,
    ...target.headers,
    'content-type: application/json',
    `content-length: ${body.length}`,
  ];
  return `${lines.join('\r\n')}\r\n\r\n${body}`;
}

export async function open(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  socket.setEncoding('latin1');
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  socket.on('error', () => socket.destroy());
  return socket;
}

/** Requests at an even rate, whether or not earlier ones are answered. Returns how long each took. */
export async function constantRate(target: Target, perSecond: number, seconds: number): Promise<number[]> {
  const request = requestText(target, 'fast');
  const all: Socket[] = [];
  const idle: Socket[] = [];
  const times: number[] = [];
  const failures: string[] = [];
  const ask = async () => {
    const socket = idle.pop() ?? (await open(target.port));
    if (!all.includes(socket)) all.push(socket);
    const begun = stamp();
    socket.once('data', (text: string) => {
      times.push(stamp() - begun);
      idle.push(socket);
      if (!text.startsWith('HTTP/1.1 200')) failures.push(text);
    });
    socket.write(request);
  };
  const begun = stamp();
  for (let sent = 0; sent < perSecond * seconds; ) {
    const due = Math.min(((stamp() - begun) * perSecond) / 1000, perSecond * seconds);
    for (; sent < due; sent += 1) void ask();
    await sleep(1);
  }
  await sleep(100);
  for (const socket of all) socket.destroy();
  if (failures.length > 0) throw new Error(`an answer was not 200: ${failures[0]}`);
  return times;
}

/** What a number of streams took: to the first event of each, and each further event on its way. */
export interface StreamTimes {
  first: number[];
  chunks: number[];
}

export interface StreamLoad {
  count: number;
  /** Events of each stream, and the time between them. */
  chunks: number;
  everyMs: number;
  /** One after the other within this time; 0: all in one moment. */
  withinMs: number;
  /** All connections are open before; else each stream opens its own as it begins, which counts. */
  ahead?: boolean;
}

/** `dir` has the program. */
export async function streams(target: Target, dir: string, load: StreamLoad): Promise<StreamTimes> {
  const { count, chunks, everyMs, withinMs, ahead = false } = load;
  const child = spawn(join(dir, STREAMS), [target.port, count, withinMs, Number(ahead)].map(String), {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.stdin.end(requestText(target, `stream-${chunks}-${everyMs}`));
  const lines = (await text(child.stdout)).split('\n');
  if ((await exited) !== 0) throw new Error(`streams on port ${target.port}: what went wrong is above`);
  const of = (what: string) =>
    lines.filter((line) => line.startsWith(what)).map((line) => Number(line.slice(what.length)));
  return { first: of('first '), chunks: of('chunk ') };
}

let aborts = 0;

/** Leaves in the middle of a stream. Returns the time until the upstream's connection was gone. */
export async function abort(target: Target, upstreamPort: number): Promise<number> {
  aborts += 1;
  const id = `${process.pid}x${aborts}`;
  const socket = await open(target.port);
  const begun = new Promise((resolve) => socket.once('data', resolve));
  socket.write(requestText(target, `abortable-${id}`));
  await begun;
  // Not in the same moment as a chunk.
  await sleep(5);
  const left = stamp();
  socket.destroy();
  for (;;) {
    await sleep(25);
    const seen = Number(await (await fetch(`http://127.0.0.1:${upstreamPort}/aborted?id=${id}`)).text());
    if (seen > 0) return seen - left;
    if (stamp() - left > 2000) return Number.POSITIVE_INFINITY;
  }
}
