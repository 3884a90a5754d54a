import type { ServerResponse } from 'node:http';
import type { EndpointState } from '../../spec/states.ts';

/** Every answer the gateway gives by itself, in one table. Answers of engines pass through untouched. */
export const ANSWERS = {
  badRequest: { status: 400, code: 'VALIDATION_FAILED' },
  paused: { status: 400, code: 'INVALID_STATE' },
  unauthorized: { status: 401, code: 'UNAUTHORIZED' },
  forbidden: { status: 403, code: 'FORBIDDEN' },
  notFound: { status: 404, code: 'NOT_FOUND' },
  /** The client stopped sending in the middle of its body. */
  tooSlow: { status: 408, code: 'REQUEST_TIMEOUT' },
  tooLarge: { status: 413, code: 'TOO_LARGE' },
  rateLimited: { status: 429, code: 'TOO_MANY_REQUESTS' },
  upstreamFailed: { status: 502, code: 'UPSTREAM_FAILED' },
  /** The engine took longer than the endpoint allows. */
  timedOut: { status: 504, code: 'TIMEOUT' },
  /** The endpoint has failed: waiting would not help. */
  failed: { status: 503, code: 'ENDPOINT_FAILED' },
  /** No replica became ready while the request was held. */
  notReady: { status: 503, code: 'NOT_READY', retryAfterSeconds: 5 },
  /** Too many requests are held already. */
  holdFull: { status: 503, code: 'UNAVAILABLE', retryAfterSeconds: 5 },
  /** This gateway has not read the routes yet, or is on its way out. */
  unavailable: { status: 503, code: 'UNAVAILABLE', retryAfterSeconds: 1 },
} as const satisfies Record<string, { status: number; code: string; retryAfterSeconds?: number }>;

/** Why a request gets no engine's answer; `message` says to whom, why and what to do. */
export interface Refusal {
  readonly kind: keyof typeof ANSWERS;
  readonly message: string;
  /** Of the endpoint, where there is one the caller may know about. */
  readonly state?: EndpointState;
  /** When to come again; instead of what the table says. */
  readonly retryAfterSeconds?: number;
  /** 1 for the request that would have been next. */
  readonly queuePosition?: number;
  /** Until there is likely to be a ready replica, by how long the last ones took to start. */
  readonly waitEstimateSeconds?: number;
  /** Further headers: name, value, name, value. */
  readonly headers?: readonly string[];
}

export function bodyTooLarge(endpoint: { namespace: string; name: string }, maxBytes: number): Refusal {
  return {
    kind: 'tooLarge',
    message: `the body is larger than the ${maxBytes} bytes that endpoint ${endpoint.namespace}/${endpoint.name} takes: send less`,
  };
}

/** Status, headers and body of a refusal: `error` is what official clients read, `X-Error-Message` the same as header. */
export function answerOf(
  refusal: Refusal,
  requestId: string,
): { status: number; headers: string[]; body: string } {
  const answer: { status: number; code: string; retryAfterSeconds?: number } = ANSWERS[refusal.kind];
  const body = JSON.stringify({ error: refusal.message, code: answer.code, state: refusal.state });
  const headers = [
    'content-type',
    'application/json',
    'content-length',
    String(Buffer.byteLength(body)),
    'x-request-id',
    requestId,
    'x-error-message',
    // A header holds visible Latin-1 only; the body has the message as it is.
    refusal.message.replace(/[^\x20-\x7e]/g, ' '),
  ];
  const retryAfterSeconds = refusal.retryAfterSeconds ?? answer.retryAfterSeconds;
  if (retryAfterSeconds) headers.push('retry-after', String(retryAfterSeconds));
  if (answer.status === 401) headers.push('www-authenticate', 'Bearer');
  if (refusal.state) headers.push('x-endpoint-state', refusal.state);
  if (refusal.queuePosition) headers.push('x-queue-position', String(refusal.queuePosition));
  if (refusal.waitEstimateSeconds)
    headers.push('x-endpoint-wait-estimate', String(refusal.waitEstimateSeconds));
  if (refusal.headers) headers.push(...refusal.headers);
  return { status: answer.status, headers, body };
}

/** Answers a request whose response has not begun. */
export function refuse(
  res: ServerResponse,
  requestId: string,
  refusal: Refusal,
  further: readonly string[] | null = null,
): void {
  const { status, headers, body } = answerOf(refusal, requestId);
  if (further) headers.push(...further);
  res.writeHead(status, headers);
  res.end(body);
}
