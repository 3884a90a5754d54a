import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { DIGEST_FILE, Digests, type FileDigest } from './digests.ts';

export const SETTINGS_FILE = '.mirror.json';

/** `.mirror.json` of a repository's folder; all of it optional. */
const settingsSchema = z.strictObject({
  /** Everyone may read what it holds, but only a token that was granted access its files. */
  gated: z.boolean().default(false),
  /** Without a token that was granted access it seems not to exist. */
  private: z.boolean().default(false),
  /** Default: derived from the files, so it changes when they do. */
  commit: z
    .string()
    .regex(/^[0-9a-f]{40}$/)
    .optional(),
  /** Names besides `main` that lead to the same commit. */
  branches: z.array(z.string().min(1)).default([]),
  pipeline_tag: z.string().optional(),
  library_name: z.string().optional(),
  license: z.string().optional(),
});
export type RepositorySettings = z.infer<typeof settingsSchema>;

export interface MirrorFile extends FileDigest {
  /** Relative to the repository, with `/`. */
  path: string;
  sizeBytes: number;
  mtimeMs: number;
}

/** A repository as it is on disk now. */
export interface Listing {
  id: string;
  dir: string;
  settings: RepositorySettings;
  commit: string;
  /** By path, in path order. Only what is in here is ever opened, so no request can name a file outside. */
  files: ReadonlyMap<string, MirrorFile>;
}

/** For how long a listing is trusted: a download asks for many ranges in a row. */
const FRESH_MS = 1000;

/** The repositories `<dir>/<owner>/<name>`. */
export class Repositories {
  private readonly dir: string;
  private readonly digests = new Map<string, Digests>();
  private readonly listings = new Map<string, { at: number; listing: Promise<Listing | null> }>();

  constructor(dir: string) {
    this.dir = dir;
  }

  /** Null when there is no such folder. */
  get(id: string): Promise<Listing | null> {
    const known = this.listings.get(id);
    if (known && Date.now() - known.at < FRESH_MS) return known.listing;
    const listing = this.read(id);
    const entry = { at: Date.now(), listing };
    this.listings.set(id, entry);
    const settled = () => {
      entry.at = Date.now();
    };
    listing.then(settled, () => this.listings.delete(id));
    return listing;
  }

  private async read(id: string): Promise<Listing | null> {
    const dir = join(this.dir, id);
    const folder = await stat(dir).catch(() => null);
    if (!folder?.isDirectory()) return null;
    const settings = await readSettings(dir);
    let digests = this.digests.get(id);
    if (!digests) {
      digests = new Digests(dir);
      this.digests.set(id, digests);
    }
    const files = new Map<string, MirrorFile>();
    for (const path of (await walk(dir, '')).toSorted())
      files.set(path, { path, ...(await digests.of(path)) });
    await digests.save();
    return { id, dir, settings, commit: settings.commit ?? commitOf(files), files };
  }
}

/** `owner/name` as the Hub allows it, and nothing that could lead out of the folder. */
export function isRepositoryId(id: string): boolean {
  const parts = id.split('/');
  return parts.length === 2 && parts.every((part) => /^[\w.-]{1,96}$/.test(part) && !/^\.+$/.test(part));
}

/** A full or abbreviated commit, `main`, or one of the branches. */
export function isRevision({ settings, commit }: Listing, revision: string): boolean {
  if (revision === 'main' || revision === 'HEAD' || settings.branches.includes(revision)) return true;
  return revision.length >= 7 && commit.startsWith(revision);
}

async function readSettings(dir: string): Promise<RepositorySettings> {
  const file = join(dir, SETTINGS_FILE);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    return settingsSchema.parse({});
  }
  try {
    return settingsSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new Error(`${file} is not usable: ${error instanceof Error ? error.message : error}`);
  }
}

async function walk(dir: string, below: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(dir, below), { withFileTypes: true })) {
    const path = below ? `${below}/${entry.name}` : entry.name;
    if (path === SETTINGS_FILE || path.startsWith(DIGEST_FILE) || path === '.git' || path === '.cache')
      continue;
    // Links are followed: the site's own, such as those of a download cache.
    const kind = entry.isSymbolicLink() ? await stat(join(dir, path)) : entry;
    if (kind.isDirectory()) found.push(...(await walk(dir, path)));
    else if (kind.isFile()) found.push(path);
  }
  return found;
}

function commitOf(files: ReadonlyMap<string, MirrorFile>): string {
  const hash = createHash('sha1');
  for (const file of files.values()) hash.update(`${file.gitSha1} ${file.path}\n`);
  return hash.digest('hex');
}
