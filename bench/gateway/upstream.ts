import { createServer, type Socket } from 'node:net';
import { stamp } from './stamp.ts';

/**
 * The engine behind every proxy of the benchmark: HTTP/1.1 on a bare socket, as cheap as Node can be, so that the proxy
 * and not this is what is measured. Listens on every port given as an argument.
 *
 * `/fast` answers 122 bytes. `/stream?chunks=<n>&ms=<n>` sends events that carry the moment they were written, the first
 * one at once. `/abortable?id=<id>` is a stream without an end; `/aborted?id=<id>` says when its connection was gone.
 */

const ANSWER = JSON.stringify({ id: 'x', choices: [{ message: { content: 'ok' } }] }).padEnd(122);
const FAST = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${ANSWER.length}\r\n\r\n${ANSWER}`;
const STREAM_HEAD =
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
const ABORTABLE_MS = 20;

const abortedAt = new Map<string, number>();

for (const port of process.argv.slice(2).map(Number)) createServer(onConnection).listen(port, '127.0.0.1');

function onConnection(socket: Socket): void {
  let unread = '';
  socket.setNoDelay(true);
  socket.setEncoding('latin1');
  socket.on('error', () => socket.destroy());
  socket.on('data', (text: string) => {
    unread += text;
    for (;;) {
      const headEnd = unread.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      const head = unread.slice(0, headEnd);
      const end = headEnd + 4 + Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      if (unread.length < end) return;
      unread = unread.slice(end);
      const path = head.split(' ', 2)[1] ?? '/';
      if (path === '/fast') socket.write(FAST);
      else answer(socket, new URL(path, 'http://upstream'));
    }
  });
}

function answer(socket: Socket, { pathname, searchParams }: URL): void {
  const number = (name: string) => Number(searchParams.get(name));
  const id = searchParams.get('id') ?? '';
  if (pathname === '/stream') stream(socket, number('chunks'), number('ms'));
  else if (pathname === '/abortable') {
    socket.once('close', () => abortedAt.set(id, stamp()));
    stream(socket, Number.POSITIVE_INFINITY, ABORTABLE_MS);
  } else if (pathname === '/aborted') {
    const body = String(abortedAt.get(id) ?? 0);
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  } else socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n');
}

function stream(socket: Socket, chunks: number, everyMs: number): void {
  socket.write(STREAM_HEAD + event());
  let left = chunks - 1;
  const timer = setInterval(() => {
    left -= 1;
    socket.write(left > 0 ? event() : `${event()}0\r\n\r\n`);
    if (left <= 0) stop();
  }, everyMs);
  const stop = () => {
    clearInterval(timer);
    socket.off('close', stop);
  };
  socket.on('close', stop);
}

function event(): string {
  const data = `data: ${stamp()}\n\n`;
  return `${data.length.toString(16)}\r\n${data}\r\n`;
}
