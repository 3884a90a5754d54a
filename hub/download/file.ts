import { EndpointsError } from '../../spec/errors.ts';
import type { WeightFile } from '../../spec/lifecycle.ts';
import { networkReason } from '../api.ts';
import { explainRefusal, isTransient } from '../refusals.ts';
import { askedPauseMs } from '../retry.ts';
import { fileUrl } from '../urls.ts';
import { type Digest, openDigest } from './digest.ts';
import { type Part, PartialFile } from './partial.ts';
import { receive } from './receive.ts';
import { type RangeResponse, TransientError, type Transport } from './transport.ts';

export interface Source {
  endpoint: string;
  repository: string;
  commit: string;
  authenticated: boolean;
}

/** A part somebody is at work on. The part changes when the file turns out to have to come in one piece. */
export interface Claim {
  part: Part;
}

/**
 * One file on its way: `waiting` until its first request is answered, because only then it is known whether the server
 * can serve parts; then `open` for several requests at once; `finishing` while it is verified; then `closed`.
 */
export class FileDownload {
  readonly file: WeightFile;
  readonly destination: string;
  state: 'new' | 'waiting' | 'open' | 'finishing' | 'closed' = 'new';
  /** Bytes written by this call, over all attempts. */
  receivedBytes = 0;
  private readonly source: Source;
  private readonly transport: Transport;
  private readonly onBytes: (bytes: number) => void;
  private readonly claims = new Set<Claim>();
  private partial: PartialFile | null = null;
  private digest: Digest | null = null;
  /** Where the last redirect led; saves asking the Hub again for every part. */
  private location: URL | null = null;
  private refetched = false;

  /** @param onBytes told of every change of the bytes on disk */
  constructor(
    file: WeightFile,
    destination: string,
    from: { source: Source; transport: Transport; onBytes: (bytes: number) => void },
  ) {
    this.file = file;
    this.destination = destination;
    this.source = from.source;
    this.transport = from.transport;
    this.onBytes = from.onBytes;
  }

  /** Takes up what is on disk. `estimate`: what the caller has counted of it already. */
  async open(partBytes: number, estimate: number): Promise<void> {
    this.partial = await PartialFile.open(this.destination, this.file.sizeBytes, partBytes);
    this.onBytes(this.partial.doneBytes - estimate);
    this.digest = openDigest(this.partial.dataPath, this.file);
    this.digest?.advance(this.partial.frontier);
  }

  /** Everything is on disk, and nobody is about to account for the last of it. */
  get isComplete(): boolean {
    return this.claims.size === 0 && this.opened.frontier === this.file.sizeBytes;
  }

  /** A part nobody is at work on; undefined when there is none (any more). */
  claim(): Claim | undefined {
    const taken = new Set([...this.claims].map((claim) => claim.part));
    const part = this.opened.parts.find((p) => p.start + p.received < p.end && !taken.has(p));
    if (!part) return undefined;
    const claim = { part };
    this.claims.add(claim);
    return claim;
  }

  release(claim: Claim): void {
    this.claims.delete(claim);
  }

  /**
   * Asks once for what the part lacks and writes what comes.
   * @param onAnswer called when the server has answered and the file's parts are settled
   * @throws TransientError, EndpointsError HUB_*, DISK_FULL
   */
  async fetchOnce(claim: Claim, signal: AbortSignal, onAnswer: () => void): Promise<void> {
    const partial = this.opened;
    const { endpoint, repository, commit } = this.source;
    const url = this.location ?? new URL(fileUrl(endpoint, repository, commit, this.file.path));
    const start = claim.part.start + claim.part.received;
    const response = await this.transport.get({ url, start, end: claim.part.end, signal });
    await this.check(response, start);
    this.location = this.transport.isHub(response.url) ? null : response.url;
    const whole = response.status === 200;
    if (whole && this.state === 'waiting' && partial.parts.length > 1) await this.joinParts(claim);
    onAnswer();

    const { part } = claim;
    const skip = whole ? part.start + part.received : 0;
    try {
      await receive(response.body, partial, part, skip, (bytes) => {
        this.receivedBytes += bytes;
        this.onBytes(bytes);
        this.digest?.advance(partial.frontier);
      });
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof EndpointsError || isFileError(error)) throw error;
      const reason = networkReason(error);
      throw new TransientError(`the transfer of '${this.file.path}' broke off (${reason})`, { cause: error });
    }
    if (part.start + part.received < part.end)
      throw new TransientError(`the transfer of '${this.file.path}' ended early`);
    partial.syncSoon();
  }

  /**
   * Compares the checksum and gives the file its name. False when it was wrong for the first time, and everything is to
   * be fetched again.
   * @throws EndpointsError CHECKSUM_MISMATCH the second time
   */
  async finish(partBytes: number): Promise<boolean> {
    const partial = this.opened;
    const expected = this.file.sha256 ?? this.file.gitSha1;
    const actual = (await this.digest?.finish()) ?? null;
    this.digest = null;
    if (actual === expected) {
      await partial.finish();
      this.partial = null;
      this.state = 'closed';
      return true;
    }
    this.onBytes(-this.file.sizeBytes);
    if (this.refetched) {
      await partial.discard();
      this.partial = null;
      throw new EndpointsError(
        'CHECKSUM_MISMATCH',
        `'${this.file.path}' of '${this.source.repository}' came from ${this.source.endpoint} with a wrong checksum twice (expected ${expected}, got ${actual}): the copy there, or on the way, is damaged`,
      );
    }
    this.refetched = true;
    this.location = null;
    await partial.restart(partBytes);
    this.digest = openDigest(partial.dataPath, this.file);
    return false;
  }

  /** Lets go of the file; what was received stays for the next attempt. */
  async close(): Promise<void> {
    this.digest?.cancel();
    await this.partial?.close();
    this.partial = null;
  }

  /** The server knows no ranges: the one answer has to bring everything. */
  private async joinParts(claim: Claim): Promise<void> {
    const partial = this.opened;
    const before = partial.doneBytes;
    await partial.joinParts();
    this.onBytes(partial.doneBytes - before);
    const [whole] = partial.parts;
    if (whole) claim.part = whole;
  }

  private get opened(): PartialFile {
    if (!this.partial) throw new Error(`'${this.file.path}' is not open`);
    return this.partial;
  }

  /** @throws when these are not the bytes asked for */
  private async check(response: RangeResponse, start: number): Promise<void> {
    const { status, header, url } = response;
    const { path, sizeBytes } = this.file;
    if (status === 206) {
      const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(header('content-range') ?? '');
      if (range && Number(range[1]) === start && (range[2] === '*' || Number(range[2]) === sizeBytes)) return;
    }
    if (status === 200) {
      const length = header('content-length');
      if (length === null || Number(length) === sizeBytes) return;
    }
    if (status === 200 || status === 206) {
      response.body.destroy();
      throw new TransientError(`${url.origin} sent something else for '${path}' than the bytes asked for`);
    }
    await response.body.dump();
    const pauseMs = askedPauseMs(header, Date.now());
    if (isTransient(status))
      throw new TransientError(`${url.origin} answered ${status} for '${path}'`, { pauseMs });
    if (!this.transport.isHub(url)) {
      // Signed addresses expire; the Hub gives a new one.
      this.location = null;
      throw new TransientError(`${url.origin} answered ${status} for '${path}'`);
    }
    throw explainRefusal(
      { status, code: header('x-error-code'), message: header('x-error-message') },
      { ...this.source, revision: this.source.commit, file: path },
    );
  }
}

/** An error of the local file system, which asking the server again does not mend. */
function isFileError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall === 'write';
}
