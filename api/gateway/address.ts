/** Where a request goes: the endpoint and what its engine sees as path and query. */
export interface Address {
  /** `<namespace>/<name>`, the key of the route table. */
  readonly key: string;
  /** Begins with a slash; has the query. */
  readonly path: string;
}

/**
 * A path segment `.` or `..`, in the clear or percent-encoded, also behind an encoded slash or a backslash: an engine
 * that decodes before it splits would leave the folder the path seems to name.
 */
const DOT_SEGMENT = /(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?:$|[/\\]|%2f|%5c)/i;

/**
 * Splits `/<namespace>/<name>/<rest>?<query>`. Returns a sentence instead when the target can name no endpoint: another
 * form than a path (RFC 9112 §3.2: absolute, authority, asterisk), a missing name, or dot segments. Namespace and name
 * are taken literally, so an encoded slash in them finds nothing; in the rest it is the engine's (`models/owner%2Fname`).
 */
export function parseAddress(target: string): Address | string {
  if (target.charCodeAt(0) !== SLASH)
    return 'the request target must be a path: /<namespace>/<endpoint>/..., without scheme and host';
  const queryAt = target.indexOf('?');
  const end = queryAt < 0 ? target.length : queryAt;
  if (mayHaveDotSegment(target) && DOT_SEGMENT.test(target.slice(0, end)))
    return "the path must not have '.' or '..' segments";
  const nameAt = target.indexOf('/', 1) + 1;
  if (nameAt < 2 || nameAt >= end) return 'the path names no endpoint: it is /<namespace>/<endpoint>/...';
  const restAt = target.indexOf('/', nameAt);
  const nameEnd = restAt < 0 || restAt > end ? end : restAt;
  if (nameEnd === nameAt || nameAt === 2)
    return 'the path names no endpoint: it is /<namespace>/<endpoint>/...';
  const rest = target.slice(nameEnd);
  return { key: target.slice(1, nameEnd), path: rest.charCodeAt(0) === SLASH ? rest : `/${rest}` };
}

const SLASH = 47;

/** Cheap test that spares almost every request the pattern. */
function mayHaveDotSegment(target: string): boolean {
  return target.includes('/.') || target.includes('%') || target.includes('\\');
}
