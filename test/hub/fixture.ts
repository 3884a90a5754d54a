import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createHub } from '../../hub/client.ts';
import type { Fault } from '../../hub/mirror/faults.ts';
import { type Mirror, type MirrorOptions, type MirrorRequest, startMirror } from '../../hub/mirror/server.ts';
import type { WeightFile } from '../../spec/lifecycle.ts';

/** A mirror with repositories written for one test, and what it served. */
export interface TestHub {
  dir: string;
  url: string;
  /** Requests for files (not metadata), in the order in which their responses ended. */
  served: { request: MirrorRequest; status: number; bodyBytes: number }[];
  /** Asked about every request while set. */
  fault: ((request: MirrorRequest) => Fault | undefined) | null;
  /** Bytes of file content handed out so far. */
  servedBytes(): number;
  /** One more mirror of the same folder, closed with this one. */
  another(fault?: MirrorOptions['fault']): Promise<Mirror>;
  close(): Promise<void>;
}

export type Contents = Record<string, Buffer | string>;

export async function testHub(
  repositories: Record<string, { files: Contents; settings?: object }>,
  tokens?: MirrorOptions['tokens'],
): Promise<TestHub> {
  const dir = await tempDir('mirror-');
  for (const [id, { files, settings }] of Object.entries(repositories)) {
    const all: Contents = settings ? { ...files, '.mirror.json': JSON.stringify(settings) } : files;
    for (const [path, content] of Object.entries(all)) {
      await mkdir(dirname(join(dir, id, path)), { recursive: true });
      await writeFile(join(dir, id, path), content);
    }
  }
  const others: Mirror[] = [];
  const hub: TestHub = {
    dir,
    url: '',
    served: [],
    fault: null,
    servedBytes: () => hub.served.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0),
    another: async (fault) => {
      const more = await startMirror({ dir, host: '127.0.0.1', port: 0, ...(fault ? { fault } : {}) });
      others.push(more);
      return more;
    },
    close: async () => {
      for (const started of [mirror, ...others]) await started.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
  const mirror = await startMirror({
    dir,
    host: '127.0.0.1',
    port: 0,
    ...(tokens ? { tokens } : {}),
    fault: (request) => hub.fault?.(request),
    onServed: (request, { status, bodyBytes }) => {
      if (request.route?.kind === 'file' && request.method === 'GET')
        hub.served.push({ request, status, bodyBytes });
    },
  });
  hub.url = mirror.url;
  return hub;
}

export async function tempDir(prefix = 'hub-'): Promise<string> {
  return mkdtemp(join(tmpdir(), prefix));
}

/** Bytes that no part of which looks like another. */
export function noise(length: number): Buffer {
  return randomBytes(length);
}

export function sha256(content: Buffer | string): string {
  return createHash('sha256').update(content).digest('hex');
}

/** The files of a repository as the Hub lists them. */
export async function resolved(
  url: string,
  repository: string,
  token?: string,
): Promise<{ commit: string; files: WeightFile[] }> {
  return createHub({ endpoint: url, token: token ?? null }).resolveModel({ repository, revision: null });
}

/** A fault for requests of files only, so that metadata stays available. */
export function onFiles(fault: (request: MirrorRequest, count: number) => Fault | undefined) {
  let count = 0;
  return (request: MirrorRequest) => (request.route?.kind === 'file' ? fault(request, ++count) : undefined);
}
