import { setMaxListeners } from 'node:events';
import { EndpointsError } from '../../spec/errors.ts';
import type { WeightFile } from '../../spec/lifecycle.ts';
import { type Backoff, retryDelayMs, sleep } from '../retry.ts';
import { type Claim, FileDownload } from './file.ts';
import { partialBytes } from './partial.ts';
import { TransientError, Transport } from './transport.ts';

export interface Progress {
  doneBytes: number;
  totalBytes: number;
}

export interface DownloadRequest {
  repository: string;
  /** Full commit hash: what it names never changes, so parts of two attempts fit together. */
  commit: string;
  /** What to fetch and where to put it, in the order in which it is wanted. Existing files are replaced. */
  files: readonly { file: WeightFile; destination: string }[];
  /** Requests at the same time, over all files. */
  parallel: number;
  /** Length of the ranges asked for. */
  partBytes: number;
  signal?: AbortSignal;
  /** Called often; counts what an earlier attempt left on disk as done. */
  onProgress?: (progress: Progress) => void;
  /** Without a byte for so long, a transfer is cut and asked for again. Default 30 s. */
  stallMs?: number;
  /** Attempts of one part in a row that bring no byte. Default 6. */
  maxFailures?: number;
  backoff?: Backoff;
}

/**
 * Downloads files in parallel ranges, verified. What it has received stays on disk beside the destination and is taken
 * up by the next call, whatever ended this one. Two calls must not work on the same destination: see `lock.ts`.
 * @returns bytes received by this call
 * @throws EndpointsError HUB_*, DOWNLOAD_FAILED, CHECKSUM_MISMATCH, DISK_FULL; the signal's reason when aborted
 */
export async function downloadFiles(
  { endpoint, token }: { endpoint: string; token: string | null },
  request: DownloadRequest,
): Promise<{ downloadedBytes: number }> {
  const transport = new Transport(endpoint, token, request.stallMs ?? 30_000);
  const { repository, commit } = request;
  const source = { endpoint, repository, commit, authenticated: token !== null };
  const progress = { doneBytes: 0, totalBytes: 0 };
  const onBytes = (bytes: number) => {
    progress.doneBytes += bytes;
    request.onProgress?.({ ...progress });
  };
  const downloads = new Map<FileDownload, { onDisk: number }>();
  for (const { file, destination } of request.files) {
    const onDisk = await partialBytes(destination);
    progress.doneBytes += onDisk;
    progress.totalBytes += file.sizeBytes;
    downloads.set(new FileDownload(file, destination, { source, transport, onBytes }), { onDisk });
  }
  const failed = new AbortController();
  const signal = request.signal ? AbortSignal.any([request.signal, failed.signal]) : failed.signal;
  // Each open request listens to it, and there are `parallel` of them.
  setMaxListeners(0, signal);
  try {
    signal.throwIfAborted();
    const crew = new Crew(downloads, request, signal);
    const workers = Array.from({ length: request.parallel }, () =>
      crew.work().catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    );
    // All of them, so that none still writes when the files are closed.
    await Promise.allSettled(workers);
    await Promise.all(workers);
    return {
      downloadedBytes: [...downloads.keys()].reduce((sum, { receivedBytes }) => sum + receivedBytes, 0),
    };
  } catch (error) {
    // The first failure ended the others; theirs say only that.
    if (request.signal?.aborted) throw request.signal.reason;
    throw failed.signal.aborted ? failed.signal.reason : error;
  } finally {
    for (const download of downloads.keys()) await download.close();
    await transport.close();
  }
}

const BACKOFF: Backoff = { baseMs: 500, maxMs: 15_000 };

/** The workers of one call and what they share. */
class Crew {
  private readonly downloads: ReadonlyMap<FileDownload, { onDisk: number }>;
  private readonly request: DownloadRequest;
  private readonly signal: AbortSignal;
  /** Until then nobody asks for anything: a server that limits the rate limits all of us. */
  private pausedUntil = 0;
  private idle: (() => void)[] = [];

  constructor(
    downloads: ReadonlyMap<FileDownload, { onDisk: number }>,
    request: DownloadRequest,
    signal: AbortSignal,
  ) {
    this.downloads = downloads;
    this.request = request;
    this.signal = signal;
    signal.addEventListener('abort', () => this.wake());
  }

  /** Does what there is to do, until every file is there. */
  async work(): Promise<void> {
    while ([...this.downloads.keys()].some((download) => download.state !== 'closed')) {
      this.signal.throwIfAborted();
      if (!(await this.step())) await new Promise<void>((resolve) => this.idle.push(resolve));
    }
  }

  /** False when there is nothing to do for this worker until another one has got further. */
  private async step(): Promise<boolean> {
    for (const [download, { onDisk }] of this.downloads) {
      if (download.state === 'new') {
        download.state = 'waiting';
        await download.open(this.request.partBytes, onDisk);
      } else if (download.state !== 'open') continue;
      const claim = download.claim();
      if (claim) await this.fetch(download, claim);
      else if (download.isComplete) await this.finish(download);
      else continue;
      return true;
    }
    return false;
  }

  private async finish(download: FileDownload): Promise<void> {
    download.state = 'finishing';
    const verified = await download.finish(this.request.partBytes);
    download.state = verified ? 'closed' : 'open';
    this.wake();
  }

  /** Brings one part home, in as many attempts as it takes while some of them bring something. */
  private async fetch(download: FileDownload, claim: Claim): Promise<void> {
    const { maxFailures = 6, backoff = BACKOFF } = this.request;
    for (let failures = 0; ; ) {
      const before = download.receivedBytes;
      try {
        await this.pause();
        await download.fetchOnce(claim, this.signal, () => {
          download.state = 'open';
          this.wake();
        });
        download.release(claim);
        return;
      } catch (error) {
        this.signal.throwIfAborted();
        if (!(error instanceof TransientError)) throw error;
        failures = download.receivedBytes > before ? 1 : failures + 1;
        if (failures >= maxFailures) throw this.gaveUp(download, error);
        const delayMs = retryDelayMs(failures, error.pauseMs, backoff, Math.random());
        if (error.pauseMs !== null) this.pausedUntil = Math.max(this.pausedUntil, Date.now() + delayMs);
        await sleep(delayMs, this.signal);
      }
    }
  }

  private async pause(): Promise<void> {
    const ms = this.pausedUntil - Date.now();
    if (ms > 0) await sleep(ms, this.signal);
  }

  private wake(): void {
    const waiting = this.idle;
    this.idle = [];
    for (const resolve of waiting) resolve();
  }

  private gaveUp(download: FileDownload, error: TransientError): EndpointsError {
    return new EndpointsError(
      error.unreachable ? 'HUB_UNREACHABLE' : 'DOWNLOAD_FAILED',
      `downloading '${download.file.path}' of '${this.request.repository}' failed again and again: ${error.message}; what was received is kept`,
      { cause: error },
    );
  }
}
