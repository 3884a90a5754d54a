import { createHash } from 'node:crypto';
import { lfsPointer } from './digests.ts';
import type { Listing, MirrorFile } from './repository.ts';

/** A refusal in the Hub's own words: its clients tell refusals apart by the code and some by the message. */
export interface Refused {
  status: number;
  code: string | null;
  message: string;
}

/** Private and missing repositories look the same; a caller without a token is asked to show one. */
export function repositoryNotFound(authenticated: boolean): Refused {
  return authenticated
    ? { status: 404, code: 'RepoNotFound', message: 'Repository not found' }
    : { status: 401, code: 'RepoNotFound', message: 'Invalid username or password.' };
}

export function gatedRepository(id: string, authenticated: boolean): Refused {
  return authenticated
    ? {
        status: 403,
        code: 'GatedRepo',
        message: `Access to model ${id} is restricted and you are not in the authorized list.`,
      }
    : {
        status: 401,
        code: 'GatedRepo',
        message: `Access to model ${id} is restricted. You must have access to it and be authenticated to access it. Please log in.`,
      };
}

export const INVALID_TOKEN: Refused = {
  status: 401,
  code: null,
  message: 'Invalid credentials in Authorization header',
};
export const ENTRY_NOT_FOUND: Refused = { status: 404, code: 'EntryNotFound', message: 'Entry not found' };
export const NO_ROUTE: Refused = { status: 404, code: null, message: 'Not found' };

export function revisionNotFound(revision: string): Refused {
  return { status: 404, code: 'RevisionNotFound', message: `Invalid rev id: ${revision}` };
}

/** Body of `/api/models/{id}[/revision/{rev}]`; `expand` narrows it to the named fields, as on the Hub. */
export function modelInfo(listing: Listing, query: URLSearchParams): Record<string, unknown> {
  const { id, settings, commit, files } = listing;
  const newest = Math.max(0, ...[...files.values()].map((file) => file.mtimeMs));
  const changed = new Date(newest).toISOString();
  const withBlobs =
    query.get('blobs') === 'true' || query.get('blobs') === 'True' || query.get('blobs') === '1';
  const info: Record<string, unknown> = {
    _id: createHash('sha1').update(id).digest('hex').slice(0, 24),
    id,
    modelId: id,
    author: id.split('/')[0],
    sha: commit,
    lastModified: changed,
    createdAt: changed,
    private: settings.private,
    gated: settings.gated ? 'manual' : false,
    disabled: false,
    downloads: 0,
    likes: 0,
    tags: [
      ...(settings.library_name ? [settings.library_name] : []),
      ...(settings.license ? [`license:${settings.license}`] : []),
    ],
    ...(settings.library_name ? { library_name: settings.library_name } : {}),
    ...(settings.pipeline_tag ? { pipeline_tag: settings.pipeline_tag } : {}),
    siblings: [...files.values()].map((file) => ({
      rfilename: file.path,
      ...(withBlobs ? { size: file.sizeBytes, blobId: file.gitSha1, ...lfsOf(file, 'sha256') } : {}),
    })),
    usedStorage: [...files.values()].reduce((sum, file) => sum + file.sizeBytes, 0),
  };
  const expand = query.getAll('expand');
  if (expand.length === 0) return info;
  return Object.fromEntries(
    Object.entries(info).filter(([key]) => key === '_id' || key === 'id' || expand.includes(key)),
  );
}

/** One row of a tree or of `paths-info`. */
export function fileEntry(file: MirrorFile, expand: boolean, commit: string): Record<string, unknown> {
  return {
    type: 'file',
    oid: file.gitSha1,
    size: file.sizeBytes,
    path: file.path,
    ...lfsOf(file, 'oid'),
    ...(expand
      ? { lastCommit: { id: commit, title: 'Mirrored', date: new Date(file.mtimeMs).toISOString() } }
      : {}),
  };
}

export function folderEntry(path: string): Record<string, unknown> {
  return { type: 'directory', oid: createHash('sha1').update(path).digest('hex'), size: 0, path };
}

/** Rows of a tree below `folder` in path order; null when there is no such folder. */
export function treeOf(listing: Listing, folder: string, recursive: boolean, expand: boolean) {
  const prefix = folder === '' ? '' : `${folder}/`;
  const rows = new Map<string, Record<string, unknown>>();
  for (const file of listing.files.values()) {
    if (!file.path.startsWith(prefix)) continue;
    const steps = file.path.slice(prefix.length).split('/');
    for (let depth = 1; depth < steps.length && (recursive || depth === 1); depth++) {
      const path = prefix + steps.slice(0, depth).join('/');
      rows.set(path, folderEntry(path));
    }
    if (recursive || steps.length === 1) rows.set(file.path, fileEntry(file, expand, listing.commit));
  }
  if (rows.size === 0 && folder !== '') return null;
  return [...rows.values()];
}

/** The same fact has two names: `sha256` in model info, `oid` in trees. */
function lfsOf(file: MirrorFile, name: 'sha256' | 'oid') {
  if (!file.sha256) return {};
  const pointerSize = lfsPointer(file.sha256, file.sizeBytes).length;
  return { lfs: { [name]: file.sha256, size: file.sizeBytes, pointerSize } };
}
