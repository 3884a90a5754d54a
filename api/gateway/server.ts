import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, Server as TcpServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PlatformConfig } from '../../runtime/config.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Store } from '../../store/database.ts';
import type { Vault } from '../../store/secrets.ts';
import type { RoutedEndpoint } from '../../store/snapshot.ts';
import { AccessLog } from './access-log.ts';
import { hopeless } from './admission.ts';
import { ResponseCache } from './cache.ts';
import { answerPreflight, isPreflight } from './cors.ts';
import { Entrance } from './entrance.ts';
import { ANSWERS, type Refusal, refuse } from './errors.ts';
import type { ExchangeContext } from './exchange-input.ts';
import { Feed } from './feed.ts';
import { requestId } from './headers.ts';
import { Hold } from './hold.ts';
import { LimitShare } from './limit-share.ts';
import { Limits } from './limits.ts';
import { plainServer, tlsServer } from './listener.ts';
import { Load } from './load.ts';
import { Meter } from './meter.ts';
import { Metrics, openMetrics } from './metrics.ts';
import { compilePolicy } from './policy.ts';
import { Exchange } from './proxy.ts';
import { Replicas } from './replicas.ts';
import { Reporter } from './report.ts';
import { Scrape } from './scrape.ts';
import type { Snapshot } from './snapshot.ts';
import { refuseUpgrade, tunnel } from './upgrade.ts';
import { UsageReporter } from './usage-report.ts';
import { type Wake, Waker } from './wake.ts';

export interface GatewayDeps {
  store: Store;
  databaseUrl: string;
  vault: Vault;
  wake: Wake;
  log: Logger;
  config: Pick<
    PlatformConfig['gateway'],
    | 'holdSeconds'
    | 'maxHoldSeconds'
    | 'maxHeldRequests'
    | 'maxHeldBytes'
    | 'maxHeldRequestsTotal'
    | 'maxHeldBytesTotal'
    | 'replayBodyBytes'
    | 'accessLog'
    | 'slowHeadSeconds'
    | 'slowClientSeconds'
    | 'trustedProxies'
    | 'defaults'
    | 'usageDays'
    | 'cacheBytes'
    | 'tracing'
    | 'domain'
    | 'publicUrl'
    | 'ownHosts'
    | 'tls'
  >;
  /** Everything is read again so often; default 30 s. */
  resyncMs?: number;
}

export interface GatewayStats {
  gatewayId: string;
  routeVersion: number;
  storeConnected: boolean;
  requests: number;
  pending: number;
  inFlight: number;
  held: number;
  wakes: number;
}

export interface Gateway {
  /** Resolves with the port; port 0 takes a free one. Rejects with the system's error (`EADDRINUSE`). */
  listen(address: { host: string; port: number }): Promise<number>;
  /** Resolves when the store has been read for the first time; until then every request gets 503. */
  readonly ready: Promise<void>;
  /** Takes no new connections, lets requests in flight end within 6 s, answers held ones, signs off in the store. */
  close(): Promise<void>;
  /**
   * The same for one whose place another has taken: it has `drainMs`, requests are held until then, and clients are told
   * to change connections (`Connection: close`) before those that are idle are ended. `close` meanwhile cuts it short.
   */
  retire(drainMs: number): Promise<void>;
  stats(): GatewayStats;
}

const MAX_HEADER_BYTES = 32 * 1024;
/** Longer than the 60 s after which common load balancers drop an idle connection, so that they do it first. */
const KEEP_ALIVE_MS = 75_000;
/** How late a head that is too slow may be noticed. */
const CONNECTIONS_CHECK_MS = 5000;
const CLOSE_GRACE_MS = 6000;
/** Clients that use their connection again within this time do not find it closed under a request. */
const LINGER_MS = 2000;
/** Connections that the kernel takes for us while all processes are busy. */
const BACKLOG = 4096;
const REMIND_MS = 1000;

/** The data plane of one process. It starts following the store at once and serves from `listen` on. */
export function createGateway(deps: GatewayDeps): Gateway {
  const { log, config } = deps;
  const gatewayId = randomUUID();
  /** Takes no new connections. */
  let leaving = false;
  let closing = false;
  let onReady: () => void = () => undefined;
  const ready = new Promise<void>((resolve) => {
    onReady = resolve;
  });

  const hold = new Hold(config);
  const waker = new Waker(deps.wake, log);
  const replicas = new Replicas((endpointId) => hold.release(endpointId));
  const load = new Load((replicaId) => {
    if (replicas.isDraining(replicaId)) reporter.soon();
  });
  const meter = new Meter();
  const usageReporter = new UsageReporter({
    meter,
    store: deps.store,
    gatewayId,
    keepDays: config.usageDays,
    log,
  });
  const limits = new Limits();
  const limitShare = new LimitShare(limits, { store: deps.store, gatewayId, log });
  const compile = (endpoint: RoutedEndpoint) => compilePolicy(endpoint, config.defaults);
  const feed = new Feed({ ...deps, gatewayId, onSnapshot, compile });
  const reporter = new Reporter({
    store: deps.store,
    gatewayId,
    load,
    replicas,
    version: () => feed.snapshot?.version ?? null,
    log,
  });
  const stats = (): GatewayStats => ({
    gatewayId,
    routeVersion: feed.snapshot?.version ?? 0,
    storeConnected: feed.connected,
    ...load.total,
    held: hold.count,
    wakes: waker.sent,
  });
  const metrics = new Metrics(stats);
  const scrape = new Scrape(() => metrics.families());
  const accessLog = new AccessLog(log, config.accessLog.sample);
  const context: ExchangeContext = {
    replicas,
    hold,
    waker,
    metrics,
    accessLog,
    cache: new ResponseCache(config.cacheBytes),
    tracing: config.tracing,
    slowClientMs: config.slowClientSeconds * 1000,
    snapshot: () => feed.snapshot,
    closing: () => closing,
    leaving: () => leaving,
  };
  const hasReady = (endpointId: string) => replicas.ready(endpointId).length > 0;
  const entrance = new Entrance({ config, snapshot: () => feed.snapshot, hasReady, limits, meter });

  function onSnapshot(snapshot: Snapshot): void {
    replicas.apply(snapshot);
    waker.forget((key) => hasReady(snapshot.endpoints.get(key)?.id ?? ''));
    for (const [id, endpoint] of waitedFor(snapshot))
      if (!endpoint || hasReady(id) || hopeless(endpoint, false)) hold.release(id);
    const ids = new Set([...snapshot.endpoints.values()].map((endpoint) => endpoint.id));
    load.keepOnly((id) => ids.has(id));
    // A drain may be waiting for this version.
    reporter.soon();
    onReady();
  }

  /** Endpoints with held requests, as they are now; most of the time none. */
  function waitedFor(snapshot: Snapshot | null): [string, RoutedEndpoint | undefined][] {
    const ids = hold.waitedFor();
    if (ids.length === 0 || snapshot === null) return [];
    const byId = new Map([...snapshot.endpoints.values()].map((e) => [e.id, e]));
    return ids.map((id) => [id, byId.get(id)]);
  }

  const options = {
    maxHeaderSize: MAX_HEADER_BYTES,
    requestTimeout: 0,
    headersTimeout: config.slowHeadSeconds * 1000,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
    ...UPGRADE_WEBSOCKETS_ONLY,
  };
  const { server, certificates } = config.tls
    ? tlsServer(options, config.tls.certificates, log)
    : plainServer(options);
  const reminder = setInterval(() => {
    for (const [, endpoint] of waitedFor(feed.snapshot)) if (endpoint) waker.ask(endpoint);
  }, REMIND_MS);
  // Who is silent for so long is looked at, by `Exchange`; a connection between two requests is closed.
  server.timeout = config.slowClientSeconds * 1000;
  server.on('request', (req, res) => onRequest(req, res, false));
  server.on('checkContinue', (req, res) => onRequest(req, res, true));
  server.on('upgrade', onUpgrade);
  const tunnels = new Set<Duplex>();

  function onRequest(req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): void {
    if (leaving) res.shouldKeepAlive = false;
    if (req.url === '/health' && entrance.ownHost(req) === null) answerHealth(res);
    else if (req.url === '/metrics' && entrance.ownHost(req) === null) void answerMetrics(res);
    else onEndpointRequest(req, res, expectsContinue);
  }

  function onEndpointRequest(req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): void {
    const id = requestId(req);
    const cors = req.headers.origin === undefined ? null : entrance.corsFor(req, req.headers.origin);
    if (cors && isPreflight(req)) {
      answerPreflight(req, res, cors);
      return;
    }
    const wanted = entrance.check(req);
    if ('kind' in wanted) {
      refuse(res, id, wanted, cors);
      noteRefused(req, id, wanted);
      return;
    }
    // No spread here: it makes the literal several microseconds slower, a tenth of what a request costs.
    new Exchange({
      context,
      req,
      res,
      endpoint: wanted.endpoint,
      path: wanted.path,
      prefix: wanted.prefix,
      holdMs: wanted.holdMs,
      requestId: id,
      ticket: load.accept(wanted.endpoint.id),
      account: wanted.account,
      cors,
      pass: wanted.pass,
      replayBodyBytes: config.replayBodyBytes,
      expectsContinue,
    }).begin();
  }

  function onUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    const id = requestId(req);
    const wanted = isWebSocket(req) ? entrance.check(req) : NO_SUCH_UPGRADE;
    if ('kind' in wanted) {
      refuseUpgrade(socket, id, wanted);
      noteRefused(req, id, wanted);
      return;
    }
    tunnels.add(socket);
    socket.on('close', () => tunnels.delete(socket));
    tunnel({
      ...wanted,
      context,
      req,
      socket,
      head,
      requestId: id,
      ticket: load.accept(wanted.endpoint.id),
    });
  }

  function noteRefused(req: IncomingMessage, id: string, { kind }: Refusal): void {
    metrics.refused(kind);
    if (!accessLog.on) return;
    const nothing = { endpoint: null, replica: null, ms: 0, bytes: 0 };
    const { status } = ANSWERS[kind];
    accessLog.note({ method: req.method ?? '', ...nothing, status, requestId: id, outcome: 'refused' });
  }

  /** 200 while the gateway can route, also when the store is away for now. */
  function answerHealth(res: ServerResponse): void {
    const status = feed.snapshot === null ? 503 : 200;
    const body = { status: status === 200 ? 'ok' : 'starting', store: feed.connected ? 'connected' : 'away' };
    res.writeHead(status, { 'content-type': 'application/json' });
    res.end(JSON.stringify(body));
  }

  async function answerMetrics(res: ServerResponse): Promise<void> {
    const { contentType, body } = await openMetrics(await scrape.all());
    res.writeHead(200, { 'content-type': contentType });
    res.end(body);
  }

  let closed: Promise<unknown> | null = null;

  function stopListening(): void {
    if (leaving) return;
    leaving = true;
    // The HTTP server's own `close` would end idle connections at the same time.
    if (server.listening) closed = new Promise((resolve) => TcpServer.prototype.close.call(server, resolve));
  }

  const busy = () => load.total.pending > 0 || load.total.inFlight > 0;

  async function retire(drainMs: number): Promise<void> {
    stopListening();
    const now = Date.now();
    while (!closing && (busy() || Date.now() < now + LINGER_MS) && Date.now() < now + drainMs)
      await sleep(20);
    await close();
  }

  let ending: Promise<void> | null = null;
  const close = () => (ending ??= end());

  async function end(): Promise<void> {
    stopListening();
    closing = true;
    clearInterval(reminder);
    hold.giveUpAll();
    const deadline = Date.now() + CLOSE_GRACE_MS;
    while (busy() && Date.now() < deadline) {
      server.closeIdleConnections();
      await sleep(20);
    }
    for (const socket of tunnels) socket.destroy();
    // What has just been answered gets a moment to go out; what is left after the grace is cut.
    await sleep(20);
    server.closeAllConnections();
    await closed;
    await usageReporter.stop();
    await limitShare.stop();
    await reporter.stop();
    certificates?.stop();
    await feed.stop();
    replicas.destroy();
  }

  feed.start();
  reporter.start();
  limitShare.start();
  usageReporter.start();
  return {
    ready,
    listen: ({ host, port }) =>
      new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen({ port, host, backlog: BACKLOG }, () => {
          server.off('error', reject);
          resolve((server.address() as AddressInfo).port);
        });
      }),
    close,
    retire,
    stats,
  };
}

/**
 * Clients that would like HTTP/2 ask for `h2c` by the way (Java's does by default); such a request is an ordinary one
 * and the wish is ignored. Node before 22.21 cannot be told so: there it is refused in `onUpgrade`.
 */
const UPGRADE_WEBSOCKETS_ONLY = { shouldUpgradeCallback: isWebSocket };

function isWebSocket(req: IncomingMessage): boolean {
  return req.headers.upgrade?.toLowerCase() === 'websocket';
}

const NO_SUCH_UPGRADE: Refusal = {
  kind: 'badRequest',
  message: "this gateway upgrades to 'websocket' only: send the request without an Upgrade header",
};
