import {
  type Address,
  Call,
  type CallHandler,
  type CallRequest,
  Connection,
  type Owner,
} from './connection.ts';

/** Just under the 5 s of uvicorn, which vLLM runs on; a server's hint must not raise it. */
const KEEP_ALIVE_MS = 4000;
/** A connection is given up so long before its engine would close it. */
const MARGIN_MS = 2000;
const SWEEP_MS = 500;

/**
 * The connections to one replica: as many as there are calls, the one used last taken first, so that those a burst left
 * over end by themselves. Nothing is opened ahead of need: servers with a thread per connection (llama.cpp's) would wait
 * on it.
 */
export class Connections implements Owner {
  readonly #address: Address;
  readonly #all = new Set<Connection>();
  /** The last one was used last. */
  readonly #idle: Connection[] = [];
  #sweeper: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(origin: URL) {
    // An address of IPv6 stands in brackets there.
    const host = origin.hostname.replace(/^\[|\]$/g, '');
    this.#address = { host, port: Number(origin.port) || 80 };
  }

  /** Open or opening ones. */
  get size(): number {
    return this.#all.size;
  }

  /** Sends a request. After `close` its handler is told so (`closed`), and nothing is sent. */
  send(request: CallRequest, handler: CallHandler): Call {
    const call = new Call(request, handler);
    if (this.#closed) process.nextTick(refuse, call);
    else this.#place(call);
    return call;
  }

  #place(call: Call): void {
    const idle = this.#idle.pop();
    if (idle) idle.carry(call);
    else this.#all.add(new Connection(this, this.#address, call));
  }

  /** Lets what runs end. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  /** Ends everything at once. */
  destroy(): void {
    this.#closed = true;
    this.#idle.length = 0;
    for (const connection of this.#all) connection.destroy();
  }

  /** Only for its connections. */
  idle(connection: Connection): void {
    if (this.#closed || idleMs(connection) === 0) {
      connection.destroy();
      return;
    }
    connection.idleSince = performance.now();
    this.#idle.push(connection);
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** Only for its connections. */
  gone(connection: Connection): void {
    this.#all.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** Only for its connections. */
  again(call: Call): void {
    if (this.#closed) refuse(call);
    else this.#place(call);
  }

  /** Ends those that have been idle for long. */
  #sweep(): void {
    const now = performance.now();
    for (const connection of this.#idle.filter((idle) => now - idle.idleSince >= idleMs(idle))) {
      this.#idle.splice(this.#idle.indexOf(connection), 1);
      connection.destroy();
    }
    if (this.#idle.length > 0 || this.#sweeper === null) return;
    clearInterval(this.#sweeper);
    this.#sweeper = null;
  }
}

function idleMs({ keepAliveSeconds }: Connection): number {
  if (keepAliveSeconds === null) return KEEP_ALIVE_MS;
  return Math.min(Math.max(keepAliveSeconds * 1000 - MARGIN_MS, 0), KEEP_ALIVE_MS);
}

function refuse({ handler, aborted }: Call): void {
  if (aborted) return;
  handler.onFailure({
    kind: 'closed',
    reused: false,
    received: false,
    message: 'the replica gets no more requests',
  });
}
