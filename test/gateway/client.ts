import {
  type Agent,
  type ClientRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
} from 'node:http';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: string;
}

export interface Ask {
  method?: string;
  headers?: OutgoingHttpHeaders;
  body?: string | Buffer;
  /** Whose connections to use. */
  agent?: Agent;
}

/** One request, on a connection of its own unless an agent is given, read to the end; rejects when the answer is cut off. */
export async function ask(port: number, path: string, options: Ask = {}): Promise<Answer> {
  const { response } = open(port, path, options);
  const message = await response;
  return { status: message.statusCode ?? 0, headers: message.headers, body: await text(message) };
}

/** The same in the hands of the test: the request to abort, the response to read bit by bit. */
export function open(
  port: number,
  path: string,
  options: Ask = {},
): { req: ClientRequest; response: Promise<IncomingMessage> } {
  const req = request({
    host: '127.0.0.1',
    port,
    path,
    method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
    headers: options.headers ?? {},
    agent: options.agent ?? false,
  });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    req.on('response', resolve);
    req.on('error', reject);
  });
  // A test that aborts on purpose does not look at the rejection.
  response.catch(() => undefined);
  req.end(options.body);
  return { req, response };
}

/** Sends bytes as they are and returns everything that comes back until the server closes, or until `until` is met. */
export async function raw(
  port: number,
  bytes: string | Buffer,
  until?: (text: string) => boolean,
): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.write(bytes);
  return receive(socket, until);
}

export function receive(socket: Socket, until?: (text: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    let all = '';
    socket.setEncoding('latin1');
    const end = () => {
      socket.destroy();
      resolve(all);
    };
    socket.on('data', (chunk) => {
      all += chunk;
      if (until?.(all)) end();
    });
    socket.on('end', end);
    socket.on('close', end);
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' ? end() : reject(error),
    );
  });
}

export function bearer(token: string): { authorization: string } {
  return { authorization: `Bearer ${token}` };
}
