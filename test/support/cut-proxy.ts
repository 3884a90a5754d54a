import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface CutProxy {
  readonly port: number;
  /** From here on no byte passes, in either direction, and nobody is told: like a network that is gone. */
  cut(): void;
  /** What was held back goes on. */
  heal(): void;
  close(): Promise<void>;
}

/** Passes TCP connections on to a port of this machine until it is cut. */
export async function startCutProxy(toPort: number): Promise<CutProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let whole = true;
  const join = ([a, b]: readonly [Socket, Socket]) => {
    a.pipe(b);
    b.pipe(a);
  };
  const part = ([a, b]: readonly [Socket, Socket]) => {
    for (const side of [a, b]) side.unpipe().pause();
  };
  const server = createServer((client) => {
    const pair = [client, connect(toPort, '127.0.0.1')] as const;
    pairs.add(pair);
    for (const side of pair)
      side
        .on('error', () => undefined)
        .once('close', () => {
          pairs.delete(pair);
          for (const other of pair) other.destroy();
        });
    if (whole) join(pair);
    else part(pair);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      whole = false;
      pairs.forEach(part);
    },
    heal: () => {
      whole = true;
      pairs.forEach(join);
    },
    close: async () => {
      for (const [client] of pairs) client.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}
