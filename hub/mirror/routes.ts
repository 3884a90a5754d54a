/** What a request asks for. */
export interface Route {
  kind: 'info' | 'tree' | 'paths' | 'file';
  repository: string;
  /** Null: the default branch. */
  revision: string | null;
  /** File, or folder of a tree; empty for the root. */
  path: string;
  query: URLSearchParams;
}

/** Null when the Hub's API has no such route, or not here. */
export function route(method: string, url: string): Route | null {
  const [rawPath = '', rawQuery = ''] = url.split('?', 2);
  let steps: string[];
  try {
    // Split before decoding: a revision such as `refs/pr/1` comes as one step, `refs%2Fpr%2F1`.
    steps = rawPath.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    return null;
  }
  const query = new URLSearchParams(rawQuery);
  const isRead = method === 'GET' || method === 'HEAD';
  const [first, second, owner, name, verb, ...rest] = steps;
  if (first === 'api' && second === 'models' && owner !== undefined && name !== undefined) {
    const repository = `${owner}/${name}`;
    if (verb === undefined)
      return isRead ? { kind: 'info', repository, revision: null, path: '', query } : null;
    const { revision, path } = takeRevision(rest);
    if (revision === null) return null;
    if (verb === 'revision' && isRead && path === '')
      return { kind: 'info', repository, revision, path, query };
    if (verb === 'tree' && isRead) return { kind: 'tree', repository, revision, path, query };
    if (verb === 'paths-info' && method === 'POST')
      return { kind: 'paths', repository, revision, path, query };
    return null;
  }
  if (first !== undefined && second !== undefined && owner === 'resolve' && isRead) {
    const { revision, path } = takeRevision(steps.slice(3));
    if (revision === null || path === '') return null;
    return { kind: 'file', repository: `${first}/${second}`, revision, path, query };
  }
  return null;
}

/** Some clients do not escape the slashes of `refs/pr/1` and `refs/convert/x`. */
function takeRevision(steps: string[]): { revision: string | null; path: string } {
  const length = steps[0] === 'refs' ? 3 : 1;
  if (steps.length < length) return { revision: null, path: '' };
  return { revision: steps.slice(0, length).join('/'), path: steps.slice(length).join('/') };
}
