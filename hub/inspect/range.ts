import { EndpointsError } from '../../spec/errors.ts';
import { type ApiOptions, apiFetch } from '../api.ts';
import { fileUrl } from '../urls.ts';

/** A file of one commit. */
export interface FileAt {
  repository: string;
  commit: string;
  path: string;
  sizeBytes: number;
}

/** How a file begins that git-lfs has left in place of the real one. */
const LFS_POINTER = 'version https://git-lfs.github.com/spec/';

/**
 * The bytes of a file from `start` to `end` (exclusive), fewer where it ends before. No more than these are read, also from a
 * server that ignores ranges and sends the whole file.
 * @throws EndpointsError HUB_*
 */
export async function readRange(api: ApiOptions, file: FileAt, start: number, end: number): Promise<Buffer> {
  const { repository, commit, path, sizeBytes } = file;
  const last = Math.min(end, sizeBytes);
  if (start >= last) return Buffer.alloc(0);
  const fetch = apiFetch(api, { repository, revision: commit, file: path });
  const response = await fetch(fileUrl(api.endpoint, repository, commit, path), {
    headers: { range: `bytes=${start}-${last - 1}` },
  });
  const skip = response.status === 206 ? 0 : start;
  const bytes = await firstBytes(response, skip + last - start, file, api);
  return bytes.subarray(skip);
}

async function firstBytes(
  response: Response,
  wanted: number,
  { repository, path }: FileAt,
  { endpoint }: ApiOptions,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of response.body ?? []) {
      chunks.push(chunk);
      length += chunk.length;
      // Leaving the loop cancels the rest of the body.
      if (length >= wanted) break;
    }
  } catch (error) {
    throw new EndpointsError(
      'HUB_UNREACHABLE',
      `${endpoint} broke off '${path}' of '${repository}': try again later`,
      { cause: error },
    );
  }
  return Buffer.concat(chunks).subarray(0, wanted);
}

/** A file that is there and is not what its name says. */
export function unusable(file: FileAt, why: string): EndpointsError {
  return new EndpointsError('NO_USABLE_FILE', `'${file.path}' of '${file.repository}' ${why}`);
}

/** @throws EndpointsError NO_USABLE_FILE when these first bytes are a Git LFS pointer's */
export function refusePointer(file: FileAt, bytes: Buffer): void {
  if (bytes.toString('latin1', 0, LFS_POINTER.length) !== LFS_POINTER) return;
  throw unusable(
    file,
    'is a Git LFS pointer and not the file itself: the repository was copied without its large files; fetch them (`git lfs pull`, or `hf download`)',
  );
}
