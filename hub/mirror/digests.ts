import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** Beside the repository's files, so that a restart does not read gigabytes again. */
export const DIGEST_FILE = '.mirror-digests.json';

/** Larger files, and these kinds at any size, are what the Hub keeps as LFS objects. */
const LFS_BYTES = 10 * 1024 * 1024;
const LFS_KINDS =
  /\.(gguf|safetensors|bin|pt|pth|ckpt|onnx|h5|msgpack|model|npz|npy|tflite|zip|gz|tar|zst|parquet|arrow)$/;

export interface FileDigest {
  /** SHA-256 of an LFS object; null for a file that git keeps itself. */
  sha256: string | null;
  /** Git's object id: of the content, or of the pointer that stands for an LFS object. */
  gitSha1: string;
}

const stored = z.record(
  z.string(),
  z.object({ size: z.number(), mtimeMs: z.number(), sha256: z.string().nullable(), gitSha1: z.string() }),
);

/** The checksums of one folder's files, computed again only when a file's size or time of change is another. */
export class Digests {
  private readonly dir: string;
  private known: z.infer<typeof stored> | null = null;
  private changed = false;
  private readonly running = new Map<string, Promise<FileDigest>>();

  constructor(dir: string) {
    this.dir = dir;
  }

  /** @throws NodeJS.ErrnoException when the file cannot be read */
  async of(path: string): Promise<FileDigest & { sizeBytes: number; mtimeMs: number }> {
    if (!this.known) this.known = await this.load();
    const { size, mtimeMs } = await stat(join(this.dir, path));
    const entry = this.known[path];
    const digest =
      entry?.size === size && entry.mtimeMs === mtimeMs ? entry : await this.compute(path, size, mtimeMs);
    return { sizeBytes: size, mtimeMs, sha256: digest.sha256, gitSha1: digest.gitSha1 };
  }

  private compute(path: string, size: number, mtimeMs: number): Promise<FileDigest> {
    const key = `${path}\0${size}\0${mtimeMs}`;
    let running = this.running.get(key);
    if (!running) {
      running = this.read(path, size, mtimeMs).finally(() => this.running.delete(key));
      this.running.set(key, running);
    }
    return running;
  }

  private async read(path: string, size: number, mtimeMs: number): Promise<FileDigest> {
    const full = join(this.dir, path);
    const isLfs = size >= LFS_BYTES || LFS_KINDS.test(path);
    const sha256 = isLfs ? await hashFile(full, 'sha256', '') : null;
    const gitSha1 = sha256
      ? createHash('sha1')
          .update(gitBlob(lfsPointer(sha256, size)))
          .digest('hex')
      : await hashFile(full, 'sha1', `blob ${size}\0`);
    if (this.known) this.known[path] = { size, mtimeMs, sha256, gitSha1 };
    this.changed = true;
    // A large one at once: reading the next may take minutes.
    if (isLfs) await this.save();
    return { sha256, gitSha1 };
  }

  private async load(): Promise<z.infer<typeof stored>> {
    try {
      return stored.parse(JSON.parse(await readFile(join(this.dir, DIGEST_FILE), 'utf8')));
    } catch {
      // Absent or damaged: it holds nothing that cannot be computed again.
      return {};
    }
  }

  /** Keeps what was computed since the last time. */
  async save(): Promise<void> {
    if (!this.changed) return;
    this.changed = false;
    const temporary = join(this.dir, `${DIGEST_FILE}.${process.pid}`);
    try {
      await writeFile(temporary, JSON.stringify(this.known));
      await rename(temporary, join(this.dir, DIGEST_FILE));
    } catch (error) {
      // A folder on a read-only disk is served all the same; its checksums last as long as this process.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EROFS' && code !== 'EACCES' && code !== 'EPERM' && code !== 'ENOENT') throw error;
    }
  }
}

/** What git stores in place of an LFS object (git-lfs specification v1). */
export function lfsPointer(sha256: string, size: number): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${size}\n`;
}

function gitBlob(text: string): string {
  return `blob ${Buffer.byteLength(text)}\0${text}`;
}

async function hashFile(path: string, algorithm: 'sha1' | 'sha256', prefix: string): Promise<string> {
  const hash = createHash(algorithm).update(prefix);
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}
