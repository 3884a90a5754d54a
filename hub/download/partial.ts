import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EndpointsError } from '../../spec/errors.ts';

/** A stretch of a file that one request fetches. */
export interface Part {
  index: number;
  start: number;
  /** Exclusive. */
  end: number;
  /** Bytes of it that are in the file, counted from its start. */
  received: number;
}

const HEADER_BYTES = 16;
const ENTRY_BYTES = 8;

/**
 * A file that is being downloaded: the data at its final offsets in `<path>.partial`, and beside it
 * `<path>.partial.parts`, which holds size, part length and the bytes received of each part. An entry is written after
 * its data, so whatever kills the process, the entries never promise bytes that are not there. (After a power cut they
 * may; then the checksum finds out.)
 */
export class PartialFile {
  readonly path: string;
  readonly sizeBytes: number;
  parts: Part[] = [];
  private readonly data: FileHandle;
  private readonly journal: FileHandle;
  private syncing: Promise<void> | null = null;

  private constructor(path: string, sizeBytes: number, data: FileHandle, journal: FileHandle) {
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.data = data;
    this.journal = journal;
  }

  /** Takes up what an earlier attempt left, in that attempt's parts, or begins anew in parts of `partBytes`. */
  static async open(destination: string, sizeBytes: number, partBytes: number): Promise<PartialFile> {
    await mkdir(dirname(destination), { recursive: true });
    const data = await openOrCreate(partialPath(destination));
    let journal: FileHandle | undefined;
    try {
      journal = await openOrCreate(journalPath(destination));
      const file = new PartialFile(destination, sizeBytes, data, journal);
      const known = await readJournal(journal);
      const { size } = await data.stat();
      if (known && known.sizeBytes === sizeBytes && size === sizeBytes) file.parts = known.parts;
      else await file.restart(partBytes);
      return file;
    } catch (error) {
      await data.close();
      await journal?.close();
      throw diskError(error, destination);
    }
  }

  get dataPath(): string {
    return partialPath(this.path);
  }

  get doneBytes(): number {
    return this.parts.reduce((sum, part) => sum + part.received, 0);
  }

  /** How far the file is complete without a gap. */
  get frontier(): number {
    const gap = this.parts.find((part) => part.start + part.received < part.end);
    return gap ? gap.start + gap.received : this.sizeBytes;
  }

  /** Forgets all bytes received, and cuts the file anew. */
  async restart(partBytes: number): Promise<void> {
    await this.data.truncate(0);
    await this.data.truncate(this.sizeBytes);
    await this.layOut(partBytes, 0);
  }

  /** For a server that knows no ranges: one part, of which the gapless beginning is kept. */
  async joinParts(): Promise<void> {
    await this.layOut(Math.max(1, this.sizeBytes), this.frontier);
  }

  /** Appends to what the part has. */
  async write(part: Part, chunks: Buffer[], bytes: number): Promise<void> {
    try {
      await writeFully(this.data, chunks, bytes, part.start + part.received);
      part.received += bytes;
      await this.journal.write(entry(part.received), 0, ENTRY_BYTES, HEADER_BYTES + part.index * ENTRY_BYTES);
    } catch (error) {
      throw diskError(error, this.path);
    }
  }

  /** Starts to put on the disk what was received, so that little is left to wait for at the end. */
  syncSoon(): void {
    if (this.syncing) return;
    const done = () => {
      this.syncing = null;
    };
    // An error here is met again, and reported, by the sync in `finish`.
    this.syncing = this.data.datasync().then(done, done);
  }

  /** Makes the complete file durable and gives it its name; the partial file is closed. */
  async finish(): Promise<void> {
    try {
      await this.data.chmod(0o644);
      await this.data.sync();
      await this.close();
      await rename(this.dataPath, this.path);
      await rm(journalPath(this.path), { force: true });
      await syncFolder(dirname(this.path));
    } catch (error) {
      throw diskError(error, this.path);
    }
  }

  async discard(): Promise<void> {
    await this.close();
    await discardPartial(this.path);
  }

  async close(): Promise<void> {
    await this.syncing;
    await this.data.close();
    await this.journal.close();
  }

  private async layOut(partBytes: number, received: number): Promise<void> {
    const journal = Buffer.alloc(HEADER_BYTES + ENTRY_BYTES * Math.ceil(this.sizeBytes / partBytes));
    journal.writeBigUInt64LE(BigInt(this.sizeBytes), 0);
    journal.writeBigUInt64LE(BigInt(partBytes), 8);
    if (received > 0) journal.writeBigUInt64LE(BigInt(received), HEADER_BYTES);
    await this.journal.truncate(0);
    await this.journal.write(journal, 0, journal.length, 0);
    this.parts = partsOf(journal)?.parts ?? [];
  }
}

/** Bytes an interrupted download of `destination` has on disk; 0 when there is none. */
export async function partialBytes(destination: string): Promise<number> {
  let journal: FileHandle;
  try {
    journal = await open(journalPath(destination), 'r');
  } catch {
    return 0;
  }
  try {
    const known = await readJournal(journal);
    return known ? known.parts.reduce((sum, part) => sum + part.received, 0) : 0;
  } finally {
    await journal.close();
  }
}

/** Removes what an interrupted download left. */
export async function discardPartial(destination: string): Promise<void> {
  await rm(partialPath(destination), { force: true });
  await rm(journalPath(destination), { force: true });
}

function partialPath(destination: string): string {
  return `${destination}.partial`;
}

function journalPath(destination: string): string {
  return `${destination}.partial.parts`;
}

async function readJournal(handle: FileHandle) {
  return partsOf(await readAll(handle));
}

async function readAll(handle: FileHandle): Promise<Buffer> {
  const { size } = await handle.stat();
  const buffer = Buffer.alloc(size);
  const { bytesRead } = await handle.read(buffer, 0, size, 0);
  return buffer.subarray(0, bytesRead);
}

/** Null when these are not the bytes of a whole journal. */
function partsOf(journal: Buffer): { sizeBytes: number; parts: Part[] } | null {
  if (journal.length < HEADER_BYTES) return null;
  const sizeBytes = Number(journal.readBigUInt64LE(0));
  const partBytes = Number(journal.readBigUInt64LE(8));
  const count = partBytes > 0 ? Math.ceil(sizeBytes / partBytes) : -1;
  if (journal.length !== HEADER_BYTES + count * ENTRY_BYTES) return null;
  const parts: Part[] = [];
  for (let index = 0; index < count; index++) {
    const start = index * partBytes;
    const end = Math.min(sizeBytes, start + partBytes);
    const received = Number(journal.readBigUInt64LE(HEADER_BYTES + index * ENTRY_BYTES));
    if (received > end - start) return null;
    parts.push({ index, start, end, received });
  }
  return { sizeBytes, parts };
}

function entry(received: number): Buffer {
  const bytes = Buffer.allocUnsafe(ENTRY_BYTES);
  bytes.writeBigUInt64LE(BigInt(received));
  return bytes;
}

/** A vectored write may stop early, on a nearly full disk for instance; the next one tells why. */
async function writeFully(handle: FileHandle, chunks: Buffer[], bytes: number, at: number): Promise<void> {
  const { bytesWritten } = await handle.writev(chunks, at);
  if (bytesWritten === bytes) return;
  const rest = Buffer.concat(chunks).subarray(bytesWritten);
  for (let done = 0; done < rest.length; ) {
    const written = await handle.write(rest, done, rest.length - done, at + bytesWritten + done);
    done += written.bytesWritten;
  }
}

async function openOrCreate(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r+');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return open(path, 'w+', 0o644);
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  await folder.sync().finally(() => folder.close());
}

/** A full disk gets its code; anything else stays what it is. */
function diskError(error: unknown, path: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new EndpointsError(
    'DISK_FULL',
    `the disk became full (${code}) while downloading to ${dirname(path)}: free space there and try again`,
    { cause: error },
  );
}
