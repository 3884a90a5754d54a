import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Meant for one connection, not for the message (RFC 9110 §7.6.1); besides those that `Connection` names. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * Of a request, besides hop-by-hop ones: written by the gateway itself (`authorization`, `host`, the forwarding trail),
 * settled by it (`expect`, `content-length`), or addressed to it (`x-scale-up-timeout`).
 */
const NOT_PASSED_ON = new Set([
  ...HOP_BY_HOP,
  'authorization',
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-forwarded-prefix',
  'x-request-id',
  'x-scale-up-timeout',
  'x-hold-comments',
  'x-use-cache',
]);

const REQUEST_ID = /^[\w.:/+=@-]{1,128}$/;

/** The caller's `x-request-id` when it is harmless to repeat in logs and headers, else a new one. */
export function requestId(req: IncomingMessage): string {
  const given = req.headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : newRequestId();
}

/** Of this process and moment; the requests are numbered, which costs a tenth of a UUID for each. */
const PROCESS = randomUUID().slice(0, 18);
let number = 0;

function newRequestId(): string {
  number += 1;
  return `${PROCESS}-${number.toString(36)}`;
}

/** Where `requestHeaders` leaves the value of `authorization`, which differs from replica to replica. */
export const AUTHORIZATION_AT = 1;

/**
 * Headers for the engine, as name, value, name, value: the caller's own in order and case, less what is the
 * connection's or the gateway's, plus the forwarding trail. The engine's key goes to index `AUTHORIZATION_AT`.
 */
export function requestHeaders(req: IncomingMessage, id: string, prefix: string): string[] {
  const raw = req.rawHeaders;
  const named = namedByConnection(req.headers.connection);
  const out = ['authorization', '', 'x-request-id', id];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const lower = name.toLowerCase();
    if (NOT_PASSED_ON.has(lower) || named?.has(lower)) continue;
    out.push(name, raw[i + 1] as string);
  }
  const trail = req.headers['x-forwarded-for'];
  const peer = req.socket.remoteAddress ?? 'unknown';
  out.push('x-forwarded-for', trail ? `${trail}, ${peer}` : peer);
  out.push('x-forwarded-host', single(req.headers['x-forwarded-host']) ?? req.headers.host ?? '');
  out.push('x-forwarded-proto', single(req.headers['x-forwarded-proto']) ?? schemeOf(req));
  if (prefix !== '') out.push('x-forwarded-prefix', prefix);
  return out;
}

function schemeOf(req: IncomingMessage): string {
  return 'encrypted' in req.socket && req.socket.encrypted ? 'https' : 'http';
}

/** Items that `responseHeaders` puts before the engine's own. */
export const OWN_HEADERS = 4;

/** Of a response: also `x-request-id`, which the gateway sets. */
export function responseHeaders(raw: readonly string[], id: string, replicaId: string): string[] {
  let named: Set<string> | null = null;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (name.length === 10 && name.toLowerCase() === 'connection') named = namedByConnection(raw[i + 1]);
  }
  const out = ['x-request-id', id, 'x-proxied-replica', replicaId];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || lower === 'x-request-id' || named?.has(lower)) continue;
    out.push(name, raw[i + 1] as string);
  }
  return out;
}

/** Names listed in `Connection` beyond the usual two words; null in almost every message. */
function namedByConnection(connection: string | undefined): Set<string> | null {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return null;
  return new Set(connection.split(',').map((name) => name.trim().toLowerCase()));
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
