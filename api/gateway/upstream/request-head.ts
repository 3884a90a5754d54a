/** A request as it goes to an engine. */
export interface UpstreamRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** Name, value, name, value; without `host`, `connection` and what says where the body ends. */
  readonly headers: readonly string[];
}

/** Where a request's body ends: bytes that are told ahead, `chunked`, or null when there is none. */
export type BodyLength = number | 'chunked' | null;

/** RFC 9110 §5.6.2 and §5.5. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const NOT_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const NOT_IN_PATH = /[^\x21-\x7e\x80-\xff]/;
/** Of these a length is told even when there is no body (RFC 9110 §8.6). */
const WITH_BODY = new Set(['POST', 'PUT', 'PATCH']);

/**
 * The head as it stands on the wire, each character one byte (Latin-1). Null when something in it would not stay what
 * it is there: a line break in a value, a blank in a path.
 */
export function requestHead(request: UpstreamRequest, host: string, length: BodyLength): string | null {
  const { method, path, headers } = request;
  if (!NAME.test(method) || path === '' || NOT_IN_PATH.test(path)) return null;
  let head = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (!NAME.test(name) || NOT_IN_VALUE.test(value)) return null;
    head += `${name}: ${value}\r\n`;
  }
  if (length === 'chunked') head += 'transfer-encoding: chunked\r\n';
  else if (length !== null) head += `content-length: ${length}\r\n`;
  else if (WITH_BODY.has(method)) head += 'content-length: 0\r\n';
  return `${head}\r\n`;
}
