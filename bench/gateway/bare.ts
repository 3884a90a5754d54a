import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type Dispatcher, Pool } from 'undici';

/**
 * The least a proxy on `node:http` and undici can do: body in memory, one pool, headers as they are, back-pressure, and
 * an end for both sides when one leaves. No routes, tokens, counters, retries, and no head before the first chunk.
 * Arguments: its port, the upstream's.
 */

const [port, upstreamPort] = process.argv.slice(2).map(Number);
const pool = new Pool(`http://127.0.0.1:${upstreamPort}`, { headersTimeout: 0, bodyTimeout: 0 });
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'host', 'content-length']);

process.once('SIGTERM', () => process.exit());
process.once('disconnect', () => process.exit());

createServer((req, res) => {
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => {
    const [first] = chunks;
    const body = chunks.length > 1 ? Buffer.concat(chunks) : (first ?? null);
    const method = (req.method ?? 'GET') as Dispatcher.HttpMethod;
    const options = { method, path: req.url ?? '/', headers: endToEnd(req.rawHeaders), body };
    pool.dispatch(options, new Exchange(res));
  });
}).listen(port, '127.0.0.1');

class Exchange implements Dispatcher.DispatchHandler {
  readonly #res: ServerResponse<IncomingMessage>;
  #upstream: Dispatcher.DispatchController | undefined;

  constructor(res: ServerResponse<IncomingMessage>) {
    this.#res = res;
    res.on('close', () => {
      if (!res.writableFinished) this.#upstream?.abort(new Error('client left'));
    });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#upstream = controller;
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    this.#res.writeHead(status, endToEnd((controller.rawHeaders ?? []) as Buffer[]));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#res.write(chunk)) return;
    controller.pause();
    this.#res.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    this.#res.end();
  }

  onResponseError(): void {
    this.#res.destroy();
  }
}

function endToEnd(raw: readonly (string | Buffer)[]): string[] {
  const out: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = String(raw[i]);
    if (!HOP_BY_HOP.has(name.toLowerCase())) out.push(name, String(raw[i + 1]));
  }
  return out;
}
