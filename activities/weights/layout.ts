import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { EndpointsError } from '../../spec/errors.ts';
import type { WeightFile, WeightsPlan } from '../../spec/lifecycle.ts';

/*
 * Below the weights folder of a host:
 *   blobs/<checksum>                         each distinct content once, whatever repository it came from
 *   blobs/<checksum>.partial[.parts], .lock  a download on its way
 *   snapshots/<owner>--<name>/<commit>/…     the files of one commit under their own names, as hard links to blobs
 * Hard links, because a container is given the snapshot's folder alone, and a symbolic link out of it leads nowhere.
 */

/** Where the files of a commit lie on this host; the folder a container sees as `/repository`. */
export function snapshotDir(dir: string, repository: string, commit: string): string {
  if (!/^[\w.-]+(?:\/[\w.-]+)?$/.test(repository) || /(?:^|\/)\.+(?:$|\/)/.test(repository))
    throw new EndpointsError('VALIDATION_FAILED', `'${repository}' is not the name of a repository`);
  if (!/^[0-9a-f]{40,64}$/.test(commit))
    throw new EndpointsError('VALIDATION_FAILED', `'${commit}' is not a full commit hash`);
  return join(dir, 'snapshots', repository.replace('/', '--'), commit);
}

export function blobsDir(dir: string): string {
  return join(dir, 'blobs');
}

/** One file of a plan: its content's place and its own. */
export interface PlacedFile {
  file: WeightFile;
  blob: string;
  target: string;
}

/**
 * Where the files of a plan belong.
 * @throws EndpointsError VALIDATION_FAILED for a path that would lead out of the snapshot
 */
export function placeFiles(dir: string, { repository, commit, files }: WeightsPlan): PlacedFile[] {
  const root = snapshotDir(dir, repository, commit);
  return files.map((file) => {
    const steps = file.path.split('/');
    if (file.path.includes('\0') || steps.some((step) => step === '' || step === '.' || step === '..'))
      throw new EndpointsError(
        'VALIDATION_FAILED',
        `'${repository}' holds a file with an unusable path: '${file.path}'`,
      );
    return {
      file,
      blob: join(blobsDir(dir), blobName(file, `${repository}@${commit}`)),
      target: join(root, ...steps),
    };
  });
}

/** The contents of a plan: two files may have the same. */
export function distinctBlobs(files: readonly PlacedFile[]): PlacedFile[] {
  return [...new Map(files.map((placed) => [placed.blob, placed])).values()];
}

/** Of a file without a checksum, the name says where it came from. */
function blobName({ sha256, gitSha1, path }: WeightFile, origin: string): string {
  if (sha256 && /^[0-9a-f]{64}$/.test(sha256)) return `sha256-${sha256}`;
  if (gitSha1 && /^[0-9a-f]{40}$/.test(gitSha1)) return `git-${gitSha1}`;
  return `from-${createHash('sha256').update(`${origin}/${path}`).digest('hex')}`;
}
