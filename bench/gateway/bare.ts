import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type Dispatcher, Pool } from 'undici';

/**
 * The least a proxy on `node:http` and undici can do: body in memory, one pool, headers as they are, back-pressure, and
 * an end for both sides when one leaves. No routes, tokens, counters, retries. Arguments: its port, the upstream's.
 */

const [port, upstreamPort] = process.argv.slice(2).map(Number);
const pool = new Pool(`http://127.0.0.1:${upstreamPort}`, { headersTimeout: 0, bodyTimeout: 0 });
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'host', 'content-length']);

process.once('SIGTERM', () => process.exit());
process.once('disconnect', () => process.exit());

createServer((req, res) => {
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => forward(req, res, chunks));
}).listen(port, '127.0.0.1');

function forward(req: IncomingMessage, res: ServerResponse, chunks: readonly Buffer[]): void {
  const method = (req.method ?? 'GET') as Dispatcher.HttpMethod;
  const body = chunks.length === 0 ? null : Buffer.concat(chunks);
  let upstream: Dispatcher.DispatchController | undefined;
  res.on('close', () => {
    if (!res.writableFinished) upstream?.abort(new Error('client left'));
  });
  pool.dispatch(
    { method, path: req.url ?? '/', headers: endToEnd(req.rawHeaders), body },
    {
      onRequestStart: (controller) => {
        upstream = controller;
      },
      onResponseStart: (controller, status) => {
        res.writeHead(status, endToEnd((controller.rawHeaders ?? []) as Buffer[]));
      },
      onResponseData: (controller, chunk) => {
        if (res.write(chunk)) return;
        controller.pause();
        res.once('drain', () => controller.resume());
      },
      onResponseEnd: () => {
        res.end();
      },
      onResponseError: () => {
        res.destroy();
      },
    },
  );
}

function endToEnd(raw: readonly (string | Buffer)[]): string[] {
  const out: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = String(raw[i]);
    if (!HOP_BY_HOP.has(name.toLowerCase())) out.push(name, String(raw[i + 1]));
  }
  return out;
}
