import { request as httpRequest, type IncomingMessage, STATUS_CODES } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Wanted } from './entrance.ts';
import { ANSWERS, answerOf, type Refusal } from './errors.ts';
import type { ExchangeContext } from './exchange-input.ts';
import { AUTHORIZATION_AT, requestHeaders, responseHeaders } from './headers.ts';
import type { Ticket } from './load.ts';
import { minuteOf } from './meter.ts';
import type { Target } from './replicas.ts';
import { Seek, type SeekContext } from './seek.ts';
import { sessionOf } from './session.ts';
import { endpointKey } from './snapshot.ts';
import { RequestSpan, withTraceparent } from './trace.ts';

export interface TunnelInput extends Wanted {
  readonly context: Pick<ExchangeContext, keyof SeekContext | 'metrics' | 'accessLog' | 'tracing'>;
  readonly req: IncomingMessage;
  readonly socket: Duplex;
  /** What the client sent after the head. */
  readonly head: Buffer;
  readonly requestId: string;
  readonly ticket: Ticket;
}

const CONNECT_TIMEOUT_MS = 5000;
/** A client may not say much before the 101; more than this is not a WebSocket client. */
const MAX_EARLY_BYTES = 64 * 1024;

/**
 * A WebSocket: the handshake goes to a replica as a request, and only its 101 turns the two connections into a tunnel.
 * Any other answer is given back as a plain response and ends the connection; were it a tunnel all the same, the client
 * could send the engine further requests past the token check.
 */
export function tunnel(input: TunnelInput): void {
  const { context, req, socket, endpoint, path, requestId, ticket } = input;
  const early: Buffer[] = input.head.length ? [input.head] : [];
  let earlyBytes = input.head.length;
  let over = false;
  let status: number | null = null;
  let refused = false;
  let replica: string | null = null;
  const beganAt = performance.now();
  const bytesBefore = bytesWritten(socket);
  const readBefore = socket instanceof Socket ? socket.bytesRead : 0;
  let answered = false;
  input.account.begin(beganAt);
  const span = context.tracing ? new RequestSpan(req, endpointKey(endpoint), path, requestId) : null;
  const onStatus = (code: number) => {
    status = code;
    answered = true;
    ticket.answer();
    span?.event('answered');
    input.account.answered(performance.now());
  };
  let dropUpstream: () => void = () => undefined;

  const end = () => {
    over = true;
    const now = performance.now();
    const ending = {
      status: status ?? 0,
      replicaId: replica ?? '',
      answered,
      ms: now - beganAt,
      firstByteMs: null,
      requestBytes: socket instanceof Socket ? socket.bytesRead - readBefore : 0,
      responseBytes: bytesWritten(socket) - bytesBefore,
      promptTokens: 0,
      completionTokens: 0,
    };
    input.account.end(now, minuteOf(Date.now()), ending);
    span?.end(ending);
    if (context.accessLog.on)
      context.accessLog.note({
        method: req.method ?? '',
        endpoint: endpointKey(endpoint),
        status,
        ms: performance.now() - beganAt,
        bytes: bytesWritten(socket) - bytesBefore,
        replica,
        requestId,
        outcome: refused ? 'refused' : status === null ? 'clientLeft' : 'complete',
      });
    ticket.close();
    input.pass?.end(0);
    seek.cancel();
    dropUpstream();
  };
  // Read from the start, or a client that leaves while it is held would go unnoticed.
  const keepEarly = (chunk: Buffer) => {
    early.push(chunk);
    earlyBytes += chunk.length;
    if (earlyBytes > MAX_EARLY_BYTES) socket.destroy();
  };
  socket.on('data', keepEarly);
  socket.on('error', () => socket.destroy());
  socket.on('end', () => socket.destroy());
  // Node leaves an upgraded socket half open; after our last byte there is nothing to wait for.
  socket.on('finish', () => socket.destroy());
  socket.on('close', end);

  const seek = new Seek(context, endpoint, input.holdMs, {
    found: attempt,
    held: () => span?.event('held'),
    refused: (refusal) => {
      status = ANSWERS[refusal.kind].status;
      refused = true;
      context.metrics.refused(refusal.kind);
      ticket.close();
      if (!over) refuseUpgrade(socket, requestId, refusal);
    },
  });
  const session = endpoint.policy?.session ? sessionOf(req, endpoint.policy.session) : null;
  seek.session = session?.id ?? null;
  seek.bytes = earlyBytes;
  seek.next();

  function attempt(target: Target): void {
    if (over) return;
    ticket.send(target);
    replica = target.replicaId;
    const traceparent = span?.traceparent;
    let headers = requestHeaders(req, requestId, input.prefix);
    if (traceparent) headers = withTraceparent(headers, traceparent);
    headers[AUTHORIZATION_AT] = target.authorization;
    headers.push('host', target.origin.host, 'connection', 'Upgrade', 'upgrade', 'websocket');
    const { hostname, port } = target.origin;
    span?.event('sent');
    const upstream = httpRequest({ hostname, port, method: 'GET', path, headers, agent: false });
    let connected = false;
    const timer = setTimeout(() => upstream.destroy(new Error('connect timeout')), CONNECT_TIMEOUT_MS);
    upstream.on('socket', (s) =>
      s.once('connect', () => {
        connected = true;
        clearTimeout(timer);
      }),
    );
    dropUpstream = () => {
      clearTimeout(timer);
      upstream.destroy();
    };
    upstream.on('upgrade', (response, upstreamSocket, upstreamHead) => {
      onStatus(101);
      const headers = responseHeaders(response.rawHeaders, requestId, target.replicaId);
      headers.push('connection', 'Upgrade', 'upgrade', 'websocket');
      if (session?.cookie) headers.push('set-cookie', session.cookie);
      socket.write(head(101, response.statusMessage, headers));
      if (upstreamHead.length) socket.write(upstreamHead);
      socket.off('data', keepEarly);
      for (const chunk of early) upstreamSocket.write(chunk);
      socket.pipe(upstreamSocket).pipe(socket);
      dropUpstream = () => upstreamSocket.destroy();
      upstreamSocket.on('error', () => socket.destroy());
      upstreamSocket.on('close', () => socket.end());
    });
    upstream.on('response', (response) => {
      onStatus(response.statusCode ?? 502);
      const headers = responseHeaders(response.rawHeaders, requestId, target.replicaId);
      headers.push('connection', 'close');
      socket.write(head(response.statusCode ?? 502, response.statusMessage, headers));
      response.on('error', () => socket.destroy());
      response.pipe(socket);
    });
    upstream.on('error', () => {
      clearTimeout(timer);
      ticket.leave();
      if (over) return;
      if (!connected) return seek.afterConnectFailure(target);
      ticket.close();
      status = ANSWERS.upstreamFailed.status;
      refused = true;
      context.metrics.refused('upstreamFailed');
      refuseUpgrade(socket, requestId, {
        kind: 'upstreamFailed',
        message: `replica ${target.replicaId} of endpoint ${endpointKey(endpoint)} closed the connection during the handshake; try again`,
      });
    });
    upstream.end();
  }
}

/** Answers an upgrade request without an upgrade, and ends the connection. */
export function refuseUpgrade(socket: Duplex, requestId: string, refusal: Refusal): void {
  const { status, headers, body } = answerOf(refusal, requestId);
  socket.on('error', () => socket.destroy());
  socket.on('finish', () => socket.destroy());
  socket.end(head(status, undefined, [...headers, 'connection', 'close']) + body);
}

/** What went out on a connection so far; the server hands it over as a mere stream. */
function bytesWritten(socket: Duplex): number {
  return socket instanceof Socket ? socket.bytesWritten : 0;
}

function head(status: number, statusMessage: string | undefined, headers: readonly string[]): string {
  const lines = [`HTTP/1.1 ${status} ${statusMessage ?? STATUS_CODES[status] ?? ''}`];
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}
