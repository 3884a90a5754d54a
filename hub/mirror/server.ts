import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { errorMessage } from '../../spec/errors.ts';
import {
  ENTRY_NOT_FOUND,
  fileEntry,
  folderEntry,
  gatedRepository,
  INVALID_TOKEN,
  modelInfo,
  NO_ROUTE,
  type Refused,
  repositoryNotFound,
  revisionNotFound,
  treeOf,
} from './answers.ts';
import { sendFile } from './content.ts';
import type { Fault } from './faults.ts';
import { isRepositoryId, isRevision, type Listing, Repositories } from './repository.ts';
import { type Route, route } from './routes.ts';

export interface MirrorRequest {
  method: string;
  /** Path and query as sent. */
  url: string;
  headers: IncomingMessage['headers'];
  /** What the path means; null when nothing here has that path. */
  route: Route | null;
}

export interface MirrorOptions {
  /** Holds `<owner>/<name>/…`, a folder per repository. */
  dir: string;
  host: string;
  /** 0 takes a free one. */
  port: number;
  /**
   * Hub token → the gated and private repositories it may read (`'*'`: all). An unknown token is refused, as the Hub
   * does. Without this option no token is looked at, and gated and private repositories are closed to everyone.
   */
  tokens?: Readonly<Record<string, readonly string[] | '*'>>;
  /** For tests: what is to go wrong with a request. */
  fault?: (request: MirrorRequest) => Fault | undefined;
  /** Called when a response is over, with the bytes of body handed to the network. */
  onServed?: (request: MirrorRequest, served: { status: number; bodyBytes: number }) => void;
}

export interface Mirror {
  /** What `HF_ENDPOINT` is to be set to. */
  url: string;
  close(): Promise<void>;
}

/** Rows per page of a tree, as on the Hub. */
const PAGE = 1000;
const MAX_BODY_BYTES = 1 << 20;

/**
 * Serves a folder by the Hub's HTTP API: what `huggingface_hub`, `hf download` and this project's own client need to
 * find and download models.
 * @throws the listen error, such as EADDRINUSE
 */
export async function startMirror(options: MirrorOptions): Promise<Mirror> {
  const repositories = new Repositories(options.dir);
  const server = createServer((req, res) => {
    const request = describe(req);
    let bodyBytes = 0;
    res.on('close', () => options.onServed?.(request, { status: res.statusCode, bodyBytes }));
    const count = (bytes: number) => {
      bodyBytes += bytes;
    };
    answer(request, req, res, { repositories, options, count }).catch((error: unknown) => {
      if (res.headersSent) res.destroy();
      else refuse(res, { status: 500, code: null, message: errorMessage(error) });
    });
  });
  await new Promise<void>((resolve, reject) =>
    server.once('error', reject).listen(options.port, options.host, resolve),
  );
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no address');
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  return {
    url: `http://${host}:${address.port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Context {
  repositories: Repositories;
  options: MirrorOptions;
  count: (bytes: number) => void;
}

async function answer(request: MirrorRequest, req: IncomingMessage, res: ServerResponse, context: Context) {
  const { options, repositories } = context;
  const fault = options.fault?.(request);
  if (fault?.kind === 'status') {
    res.writeHead(fault.status, { ...fault.headers, 'content-length': 0 }).end();
    return;
  }
  if (fault?.kind === 'redirect') {
    res.writeHead(302, { location: fault.location, 'content-length': 0 }).end();
    return;
  }
  const found = request.route;
  if (!found || !isRepositoryId(found.repository)) return refuse(res, NO_ROUTE);
  const token = /^Bearer (.+)$/i.exec(req.headers.authorization ?? '')?.[1];
  const granted = token === undefined || !options.tokens ? [] : options.tokens[token];
  if (granted === undefined) return refuse(res, INVALID_TOKEN);
  const authenticated = token !== undefined && options.tokens !== undefined;
  const mayRead = granted === '*' || granted.includes(found.repository);

  const listing = await repositories.get(found.repository);
  if (!listing || (listing.settings.private && !mayRead))
    return refuse(res, repositoryNotFound(authenticated));
  const revision = found.revision ?? 'main';
  if (!isRevision(listing, revision)) return refuse(res, revisionNotFound(revision), listing);
  const { query } = found;
  switch (found.kind) {
    case 'info':
      return json(res, modelInfo(listing, query));
    case 'tree':
      return tree(req, res, listing, found);
    case 'paths':
      return json(res, pathsInfo(listing, await readPaths(req), query));
    case 'file': {
      if (listing.settings.gated && !mayRead)
        return refuse(res, gatedRepository(listing.id, authenticated), listing);
      const file = listing.files.get(found.path);
      if (!file) return refuse(res, ENTRY_NOT_FOUND, listing);
      return sendFile(req, res, listing, file, fault, context.count);
    }
  }
}

function tree(req: IncomingMessage, res: ServerResponse, listing: Listing, { path, query }: Route) {
  const flag = (name: string) => /^(true|1)$/i.test(query.get(name) ?? '');
  const rows = treeOf(listing, path, flag('recursive'), flag('expand'));
  if (!rows) return refuse(res, ENTRY_NOT_FOUND, listing);
  const limit = Math.min(PAGE, Math.max(1, Number(query.get('limit')) || PAGE));
  const from = Number(query.get('cursor')) || 0;
  const to = from + limit;
  if (to < rows.length) {
    const next = new URL(req.url ?? '/', `http://${req.headers.host}`);
    next.searchParams.set('cursor', String(to));
    res.setHeader('link', `<${next}>; rel="next"`);
  }
  json(res, rows.slice(from, to));
}

function pathsInfo(listing: Listing, paths: string[], query: URLSearchParams) {
  const expand = query.get('expand') === 'true';
  return paths.flatMap((asked) => {
    const path = asked.replace(/^\/+|\/+$/g, '');
    const file = listing.files.get(path);
    if (file) return [fileEntry(file, expand, listing.commit)];
    const isFolder = [...listing.files.keys()].some((known) => known.startsWith(`${path}/`));
    return isFolder ? [folderEntry(path)] : [];
  });
}

/** The Python client sends a form, the JavaScript one JSON. */
async function readPaths(req: IncomingMessage): Promise<string[]> {
  let text = '';
  for await (const chunk of req) {
    text += chunk;
    if (text.length > MAX_BODY_BYTES) throw new Error('the list of paths is too long');
  }
  if (!req.headers['content-type']?.startsWith('application/json'))
    return new URLSearchParams(text).getAll('paths');
  const body: unknown = JSON.parse(text);
  const paths = typeof body === 'object' && body !== null && 'paths' in body ? body.paths : [];
  return Array.isArray(paths) ? paths.filter((path) => typeof path === 'string') : [];
}

function describe(req: IncomingMessage): MirrorRequest {
  const { method = 'GET', url = '/', headers } = req;
  return { method, url, headers, route: route(method, url) };
}

function json(res: ServerResponse, body: unknown): void {
  const text = JSON.stringify(body);
  res
    .writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    .end(text);
}

function refuse(res: ServerResponse, { status, code, message }: Refused, listing?: Listing): void {
  const text = JSON.stringify({ error: message });
  res
    .writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      ...(code ? { 'x-error-code': code } : {}),
      'x-error-message': message.replace(/[^\x20-\x7e]/g, '?'),
      ...(listing ? { 'x-repo-commit': listing.commit } : {}),
    })
    .end(text);
}
