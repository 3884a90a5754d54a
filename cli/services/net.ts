import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Agent, fetch } from 'undici';
import { CliError } from '../errors.ts';

/** A machine without internet must learn so in seconds, and many have it without a route that says no. */
const CONNECT_TIMEOUT_MS = 4000;

/** Whether anything answers HTTP at `url` within a few seconds, with whatever status. */
export async function answers(url: string): Promise<boolean> {
  const dispatcher = new Agent({ connect: { timeout: CONNECT_TIMEOUT_MS } });
  try {
    const response = await fetch(url, {
      method: 'HEAD',
      redirect: 'manual',
      dispatcher,
      signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS + 1000),
    });
    await response.body?.cancel();
    return true;
  } catch {
    return false;
  } finally {
    await dispatcher.destroy();
  }
}

/** Downloads `url` to `file`, which appears only when it is complete. @throws CliError */
export async function download(
  url: string,
  file: string,
  options: { onProgress?: (doneBytes: number, totalBytes: number) => void; signal?: AbortSignal | undefined },
): Promise<void> {
  const dispatcher = new Agent({ connect: { timeout: CONNECT_TIMEOUT_MS } });
  const part = `${file}.${process.pid}.part`;
  try {
    const response = await fetch(url, { dispatcher, ...(options.signal ? { signal: options.signal } : {}) });
    if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
    const total = Number(response.headers.get('content-length') ?? 0);
    let done = 0;
    const body = Readable.fromWeb(response.body).on('data', (chunk: Buffer) => {
      done += chunk.length;
      options.onProgress?.(done, total);
    });
    await pipeline(body, createWriteStream(part));
    await rename(part, file);
  } catch (error) {
    options.signal?.throwIfAborted();
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new CliError(`${url} cannot be downloaded: ${cause instanceof Error ? cause.message : cause}`, {
      cause: error,
    });
  } finally {
    await rm(part, { force: true });
    await dispatcher.destroy();
  }
}

/** Whether a server could listen there now. */
export async function portIsFree(host: string, port: number): Promise<boolean> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen({ host, port, exclusive: true }, resolve);
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  } finally {
    server.close();
  }
}

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
