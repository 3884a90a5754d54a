import { createServer, type Socket } from 'node:net';
import { stamp } from './stamp.ts';

/**
 * The engine behind every proxy of the benchmark: HTTP/1.1 on a bare socket, as cheap as Node can be, so that the proxy
 * and not this is what is measured. Listens on every port given as an argument.
 *
 * What a completion is to do stands in its `model`, the one field every router leaves alone: `fast` answers 122 bytes,
 * `stream-<chunks>-<ms>` sends events that carry the moment they were written, the first one at once, and
 * `abortable-<id>` is a stream without an end, of which `/aborted?id=<id>` tells when its connection was gone.
 */

const ANSWER = JSON.stringify({ id: 'x', choices: [{ message: { content: 'ok' } }] }).padEnd(122);
const FAST = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${ANSWER.length}\r\n\r\n${ANSWER}`;
const STREAM_HEAD =
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
const ABORTABLE_MS = 20;

process.once('disconnect', () => process.exit());
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
      const body = unread.slice(headEnd + 4, end);
      unread = unread.slice(end);
      if (body.includes('"model":"fast"')) socket.write(FAST);
      else if (body) complete(socket, /"model":"([^"]*)"/.exec(body)?.[1] ?? '');
      else tell(socket, /\/aborted\?id=(\S*)/.exec(head)?.[1] ?? '');
    }
  });
}

function complete(socket: Socket, model: string): void {
  const [what, first = '', everyMs] = model.split('-');
  if (what === 'stream') stream(socket, Number(first), Number(everyMs));
  else {
    socket.once('close', () => abortedAt.set(first, stamp()));
    stream(socket, Number.POSITIVE_INFINITY, ABORTABLE_MS);
  }
}

/** Also what health checks get. */
function tell(socket: Socket, id: string): void {
  const body = String(abortedAt.get(id) ?? 0);
  socket.write(
    `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
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
