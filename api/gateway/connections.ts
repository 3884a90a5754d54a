import { buildConnector, Client } from 'undici';

const CONNECT_TIMEOUT_MS = 5000;
const MAX_RESPONSE_HEADER_BYTES = 32 * 1024;
/** Just under the 5 s of uvicorn, which vLLM runs on; a server's hint must not raise it. */
const KEEP_ALIVE_MS = 4000;

/** One connection to a replica. It carries one request at a time: a queue before the engine's own would hide its load. */
export class Connection {
  /** Requests that began since it was opened; above 1 the present one runs on a connection that had been idle. */
  uses = 0;
  readonly client: Client;
  readonly #owner: Connections;

  constructor(client: Client, owner: Connections) {
    this.client = client;
    this.#owner = owner;
  }

  /** The request that it was taken for has its whole answer. */
  release(): void {
    this.#owner.release(this);
  }

  /** The request has failed or was given up: what is left on the connection cannot be known. */
  discard(): void {
    this.#owner.discard(this);
  }
}

/**
 * The connections to one replica: as many as there are requests, the one used last taken first, so that those a burst
 * left over end by themselves. undici's `Pool` looks through all of its connections twice for every request and tells
 * of each that is free again; this is a stack. Nothing is opened ahead of need: servers with a thread per connection
 * (llama.cpp's) would wait on it.
 */
export class Connections {
  readonly #all = new Set<Connection>();
  readonly #idle: Connection[] = [];
  readonly #origin: URL;
  readonly #connect = buildConnector({ timeout: CONNECT_TIMEOUT_MS });
  #closed = false;

  constructor(origin: URL) {
    this.#origin = origin;
  }

  /** Open or opening ones. */
  get size(): number {
    return this.#all.size;
  }

  /**
   * One for a request, which must release or discard it. After `close` there are still some: they refuse the request with
   * undici's `UND_ERR_CLOSED`.
   */
  take(): Connection {
    return this.#idle.pop() ?? this.#add();
  }

  /** Only through `Connection`. */
  release(connection: Connection): void {
    if (this.#closed) this.discard(connection);
    else this.#idle.push(connection);
  }

  /** Only through `Connection`. */
  discard(connection: Connection): void {
    this.#all.delete(connection);
    void connection.client.close();
  }

  /** Lets what runs end. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) this.discard(connection);
  }

  /** Ends everything at once. */
  async destroy(): Promise<void> {
    this.#closed = true;
    this.#idle.length = 0;
    await Promise.all([...this.#all].map(({ client }) => client.destroy()));
  }

  #add(): Connection {
    const client = new Client(this.#origin, {
      connect: this.#connect,
      pipelining: 1,
      // Prefill may take longer than any fixed limit; the client's patience is the limit.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: MAX_RESPONSE_HEADER_BYTES,
    });
    const connection = new Connection(client, this);
    this.#all.add(connection);
    if (this.#closed) void client.close();
    client.on('connect', () => {
      connection.uses = 0;
    });
    client.on('disconnect', () => this.#onDisconnect(connection));
    return connection;
  }

  /** An idle one that ended is not kept for the next burst. */
  #onDisconnect(connection: Connection): void {
    const at = this.#idle.indexOf(connection);
    if (at < 0) return;
    this.#idle.splice(at, 1);
    this.discard(connection);
  }
}
