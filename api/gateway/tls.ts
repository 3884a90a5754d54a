import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { errorMessage } from '../../spec/errors.ts';

export interface CertificateFiles {
  /** PEM, with the chain behind it. */
  readonly certFile: string;
  readonly keyFile: string;
}

interface Loaded {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly context: SecureContext;
  readonly names: X509Certificate;
}

/** Files are looked at so often; looking costs less than an answer, and finds also what was renamed into place. */
const LOOK_MS = 5000;

/**
 * The certificates of the site. The one whose names fit what the client asks for is shown, else the first. Changed files are
 * taken over by connections made from then on; when they cannot be used, the ones before stay in force.
 */
export class Certificates {
  readonly #files: readonly CertificateFiles[];
  readonly #onChange: (first: { cert: Buffer; key: Buffer }) => void;
  readonly #log: {
    info(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
  #loaded: readonly Loaded[];
  #seen: string;
  readonly #timer: NodeJS.Timeout;

  /** @throws Error naming the file when one cannot be used */
  constructor(
    files: readonly CertificateFiles[],
    log: { info(fields: object, message: string): void; error(fields: object, message: string): void },
    onChange: (first: { cert: Buffer; key: Buffer }) => void,
    lookMs = LOOK_MS,
  ) {
    this.#files = files;
    this.#onChange = onChange;
    this.#log = log;
    this.#loaded = files.map(load);
    this.#seen = this.#state();
    this.#timer = setInterval(() => this.#look(), lookMs);
    this.#timer.unref();
  }

  /** For a client that names no host. */
  get first(): { cert: Buffer; key: Buffer } {
    const { cert, key } = this.#loaded[0] as Loaded;
    return { cert, key };
  }

  /** For one that names `host`. */
  contextFor(host: string): SecureContext | undefined {
    return (this.#loaded.find(({ names }) => names.checkHost(host)) ?? this.#loaded[0])?.context;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const seen = this.#state();
    if (seen === this.#seen) return;
    // Told once: what cannot be used now is tried again when it changes again.
    this.#seen = seen;
    try {
      this.#loaded = this.#files.map(load);
      this.#onChange(this.first);
      this.#log.info({ until: this.#loaded.map(({ names }) => names.validTo) }, 'certificates read again');
    } catch (error) {
      this.#log.error({ reason: errorMessage(error) }, 'changed certificate not taken over');
    }
  }

  /** Changes when one of the files does. */
  #state(): string {
    return this.#files
      .flatMap(({ certFile, keyFile }) => [certFile, keyFile])
      .map((file) => {
        const { mtimeMs = 0, size = 0, ino = 0 } = statSync(file, { throwIfNoEntry: false }) ?? {};
        return `${mtimeMs} ${size} ${ino}`;
      })
      .join();
  }
}

function load({ certFile, keyFile }: CertificateFiles): Loaded {
  try {
    const [cert, key] = [readFileSync(certFile), readFileSync(keyFile)];
    const names = new X509Certificate(cert);
    return { cert, key, context: createSecureContext({ cert, key }), names };
  } catch (cause) {
    throw new Error(
      `the certificate ${certFile} with the key ${keyFile} cannot be used: ${errorMessage(cause)}`,
      { cause },
    );
  }
}
