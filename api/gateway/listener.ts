import { createServer, type Server, type ServerOptions } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type CertificateFiles, Certificates } from './tls.ts';

/** A client that has not come through the handshake by then holds a place for nothing. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

export interface Listener {
  readonly server: Server;
  /** Null without TLS. */
  readonly certificates: Certificates | null;
}

export function plainServer(options: ServerOptions): Listener {
  return { server: createServer(options), certificates: null };
}

/** @throws Error naming the file when a certificate cannot be used */
export function tlsServer(
  options: ServerOptions,
  files: readonly CertificateFiles[],
  log: ConstructorParameters<typeof Certificates>[1],
): Listener {
  const certificates: Certificates = new Certificates(files, log, (first) => server.setSecureContext(first));
  const server = createTlsServer({
    ...options,
    ...certificates.first,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    SNICallback: (host, done) => done(null, certificates.contextFor(host)),
  });
  return { server, certificates };
}
