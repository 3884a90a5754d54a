import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { stamp } from './stamp.ts';

/** Where and how to ask one proxy. */
export interface Target {
  port: number;
  /** Put before the upstream's path. */
  prefix: string;
  /** Header lines. */
  headers: readonly string[];
}

/**
 * Load on bare sockets: node's own HTTP client costs more than most of the proxies, and with 100 requests at once its
 * share would be all there is to see. All times are milliseconds.
 */

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

/** Streams that begin one after the other within `everyMs`. Returns how long each chunk was on its way. */
export async function streams(
  target: Target,
  options: { count: number; chunks: number; everyMs: number },
): Promise<number[]> {
  const { count, chunks, everyMs } = options;
  const request = requestText(target, `stream-${chunks}-${everyMs}`);
  const delays: number[] = [];
  const sockets = await Promise.all(Array.from({ length: count }, () => open(target.port)));
  const ends = sockets.map(async (socket, i) => {
    const over = readChunks(socket, (delay) => delays.push(delay));
    await sleep((i / count) * everyMs);
    socket.write(request);
    await over;
  });
  await Promise.all(ends);
  return delays;
}

/** The first chunk is left out: it is late by the way of the request, which `firstChunks` measures. */
function readChunks(socket: Socket, onDelay: (ms: number) => void): Promise<void> {
  let head = true;
  let first = true;
  return new Promise((resolve, reject) => {
    socket.on('data', (text: string) => {
      const now = stamp();
      if (head && !text.startsWith('HTTP/1.1 200')) reject(new Error(`an answer was not 200: ${text}`));
      head = false;
      for (const [, at] of text.matchAll(/data: ([\d.]+)\n/g)) if (!first) onDelay(now - Number(at));
      if (text.includes('data: ')) first = false;
      if (text.endsWith('0\r\n\r\n')) {
        socket.destroy();
        resolve();
      }
    });
    socket.on('close', () => resolve());
  });
}

/** Requests for streams on connections that are open already, all at once. Returns the time to each one's first chunk. */
export async function firstChunks(target: Target, count: number): Promise<number[]> {
  const sockets = await Promise.all(Array.from({ length: count }, () => open(target.port)));
  const request = requestText(target, 'stream-2-100');
  // The proxies have seen the connections by then.
  await sleep(50);
  const answers = sockets.map((socket) => {
    const begun = stamp();
    socket.write(request);
    return new Promise<number>((resolve) => {
      const onData = (text: string) => {
        if (!text.includes('data: ')) return;
        socket.off('data', onData);
        resolve(stamp() - begun);
      };
      socket.on('data', onData);
    });
  });
  const times = await Promise.all(answers);
  for (const socket of sockets) socket.destroy();
  return times;
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
