import type { IncomingMessage, ServerResponse } from 'node:http';

/** A browser keeps the answer to a preflight so long; Chromium takes no more than two hours. */
const MAX_AGE_SECONDS = 7200;
/** Readable for the page besides the ones browsers always show. */
const EXPOSED =
  'x-request-id, x-endpoint-state, x-queue-position, x-endpoint-wait-estimate, x-error-message, retry-after, ratelimit, ratelimit-policy';

/**
 * Headers that let the page read the answer, as name, value, name, value; null when the endpoint does not say who may, and
 * then it is the engine's matter. A page of another origin gets `vary` alone, and its browser keeps the answer from it.
 */
export function corsHeaders(
  origin: string,
  origins: ReadonlySet<string> | null | undefined,
): readonly string[] | null {
  if (!origins) return null;
  if (origins.has('*')) return ['access-control-allow-origin', '*', 'access-control-expose-headers', EXPOSED];
  if (!origins.has(origin)) return ['vary', 'origin'];
  return ['access-control-allow-origin', origin, 'access-control-expose-headers', EXPOSED, 'vary', 'origin'];
}

export function isPreflight(req: IncomingMessage): boolean {
  return req.method === 'OPTIONS' && req.headers['access-control-request-method'] !== undefined;
}

/** A browser asks without a token whether it may ask with one. `headers` are those of `corsHeaders`. */
export function answerPreflight(req: IncomingMessage, res: ServerResponse, headers: readonly string[]): void {
  const out = [...headers];
  if (headers.includes('access-control-allow-origin')) {
    out.push('access-control-allow-methods', String(req.headers['access-control-request-method']));
    const wanted = req.headers['access-control-request-headers'];
    if (wanted) out.push('access-control-allow-headers', wanted);
    out.push('access-control-max-age', String(MAX_AGE_SECONDS));
  }
  res.writeHead(204, out);
  res.end();
}

/** The engine's headers with those of the gateway in place of its own about origins. */
export function withCors(headers: readonly string[], cors: readonly string[]): string[] {
  const out: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    if (!name.startsWith('access-control-')) out.push(headers[i] as string, headers[i + 1] as string);
  }
  return [...out, ...cors];
}
