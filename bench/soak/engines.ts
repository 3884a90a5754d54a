import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { removeRoute, startDraining } from '../../store/routes.ts';
import type { TestEndpoint, World } from '../../test/gateway/world.ts';
import { eventually } from '../../test/support/eventually.ts';

/** What a request asks of an engine, by its path: an answer at once, one after a while, or ten events. */
export const KINDS = ['short', 'slow', 'stream'] as const;
export type Kind = (typeof KINDS)[number];

const EVENTS = 10;
const EVENT_MS = 10;
const SLOW_MS = 80;
/** How long the control plane takes to notice that an engine is gone. */
const NOTICE_MS = 300;

/** One engine in this process, and what it must never see. */
interface Engine {
  id: string;
  server: Server;
  sockets: Set<Socket>;
  /** Routed to by the store: requests before and after that are a fault of the gateway. */
  open: boolean;
}

/**
 * A changing set of engines behind one endpoint: they come, are drained and go, or die with what they have in hand. As the
 * control plane does it: a route when an engine is ready, a drain that waits for the gateways, a route taken away when it
 * is dead.
 */
export class Engines {
  readonly #world: World;
  readonly #endpoint: TestEndpoint;
  readonly #all: Engine[] = [];
  /** Engines that died, by replica id: the only ones whose streams may end early. */
  readonly died = new Set<string>();
  /** Requests that came to an engine that had no route, or no longer one. */
  misplaced = 0;
  /** Complete answers by request id; a second one is a second answer. */
  readonly answers = new Map<string, number>();
  drains = 0;

  constructor(world: World, endpoint: TestEndpoint) {
    this.#world = world;
    this.#endpoint = endpoint;
  }

  async add(): Promise<void> {
    const sockets = new Set<Socket>();
    const engine: Engine = { id: '', sockets, open: false, server: createServer() };
    engine.server.keepAliveTimeout = 60_000;
    engine.server.on('request', (req, res) => this.#answer(engine, req, res));
    engine.server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => engine.server.listen(0, '127.0.0.1', resolve));
    engine.open = true;
    const { port } = engine.server.address() as AddressInfo;
    engine.id = await this.#world.addReplica(this.#endpoint, `127.0.0.1:${port}`);
    this.#all.push(engine);
  }

  /** The oldest one is closed to new requests, ends what it has, and goes. */
  async drainOldest(isDrained: (replicaId: string, version: number) => Promise<boolean>): Promise<void> {
    const engine = this.#all.shift();
    if (!engine) return;
    const version = await startDraining(this.#world.db.store, engine.id);
    await eventually('drained', () => isDrained(engine.id, version), { timeoutMs: 30_000 });
    engine.open = false;
    this.drains += 1;
    await removeRoute(this.#world.db.store, engine.id);
    // Still there for a while, to see whether anything comes.
    await sleep(1000);
    close(engine);
  }

  /** The oldest one is gone from one moment to the next; the store learns of it a little later. */
  async killOldest(): Promise<void> {
    const engine = this.#all.shift();
    if (!engine) return;
    this.died.add(engine.id);
    close(engine);
    await sleep(NOTICE_MS);
    await removeRoute(this.#world.db.store, engine.id);
  }

  closeAll(): void {
    for (const engine of this.#all) close(engine);
  }

  #answer(engine: Engine, req: IncomingMessage, res: ServerResponse): void {
    if (!engine.open) this.misplaced += 1;
    req.resume();
    const id = String(req.headers['x-soak-id'] ?? '');
    const kind = (req.url ?? '').slice(1) as Kind;
    const end = (text: string) => {
      if (res.destroyed) return;
      this.answers.set(id, (this.answers.get(id) ?? 0) + 1);
      res.end(text);
    };
    if (kind === 'short') end(id);
    else if (kind === 'slow') setTimeout(() => end(id), SLOW_MS);
    else stream(res, id, end);
  }
}

function stream(res: ServerResponse, id: string, end: (text: string) => void): void {
  res.writeHead(200, { 'content-type': 'text/event-stream' });
  let left = EVENTS;
  const timer = setInterval(() => {
    left -= 1;
    if (left > 0) res.write(`data: ${id}\n\n`);
    else {
      clearInterval(timer);
      end(`data: ${id}\n\ndata: [DONE]\n\n`);
    }
  }, EVENT_MS);
  res.on('close', () => clearInterval(timer));
}

function close(engine: Engine): void {
  engine.server.close();
  for (const socket of engine.sockets) socket.destroy();
}
