import { Worker } from 'node:worker_threads';
import type { WeightFile } from '../../spec/lifecycle.ts';

/** The checksum of a file that is still growing. */
export interface Digest {
  /** The first `to` bytes are on disk. */
  advance(to: number): void;
  /** Hexadecimal, of everything advanced over. */
  finish(): Promise<string>;
  /** Lets go of the file; harmless after `finish`. */
  cancel(): void;
}

/** Advancing by less is not worth a message. */
const STEP_BYTES = 1 << 20;

let worker: Worker | undefined;
let lastId = 0;
const waiting = new Map<number, { resolve(hex: string): void; reject(error: Error): void }>();

/**
 * Follows `path` with the checksum the Hub gives for `file`: SHA-256 of an LFS file, git's blob SHA-1 of another. Null
 * when there is none to compare with.
 */
export function openDigest(path: string, file: WeightFile): Digest | null {
  if (!file.sha256 && !file.gitSha1) return null;
  const id = ++lastId;
  const thread = sharedWorker();
  let reported = 0;
  const post = (message: object) => thread.postMessage({ id, ...message });
  post({
    type: 'open',
    path,
    algorithm: file.sha256 ? 'sha256' : 'sha1',
    prefix: file.sha256 ? '' : `blob ${file.sizeBytes}\0`,
  });
  return {
    advance(to) {
      if (to === reported || (to - reported < STEP_BYTES && to < file.sizeBytes)) return;
      reported = to;
      post({ type: 'advance', to });
    },
    finish() {
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        thread.ref();
        post({ type: 'finish' });
      });
    },
    cancel: () => post({ type: 'close' }),
  };
}

/** One thread for all downloads of the process, started with the first; it keeps no process alive while idle. */
function sharedWorker(): Worker {
  if (worker) return worker;
  const started = new Worker(new URL('./digest-worker.mjs', import.meta.url), { execArgv: [] });
  started.unref();
  started.on('message', ({ id, hex, error }: { id: number; hex: string; error: string | null }) => {
    const job = waiting.get(id);
    waiting.delete(id);
    if (waiting.size === 0) started.unref();
    if (error === null) job?.resolve(hex);
    else job?.reject(new Error(`cannot verify a downloaded file: ${error}`));
  });
  started.on('error', (error) => {
    worker = undefined;
    for (const job of waiting.values()) job.reject(error);
    waiting.clear();
  });
  worker = started;
  return started;
}
