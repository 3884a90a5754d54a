import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { errorMessage } from '../../spec/errors.ts';
import type { Store } from '../../store/database.ts';
import { reportGateway } from '../../store/routes.ts';
import type { Vault } from '../../store/secrets.ts';
import { loadChangedEndpoints, loadEndpoints } from '../../store/snapshot.ts';
import { loadPrincipals } from '../../store/tokens.ts';
import { type Compile, fullSnapshot, type Snapshot, withEndpoints } from './snapshot.ts';

export interface FeedOptions {
  store: Store;
  /** For the connection that listens; a pool's would be handed to others in between. */
  databaseUrl: string;
  vault: Vault;
  gatewayId: string;
  compile: Compile;
  /** Called with every new snapshot, in order. */
  onSnapshot: (snapshot: Snapshot) => void;
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  /** Everything is read again so often, whatever was or was not notified. */
  resyncMs?: number;
}

const RESYNC_MS = 30_000;
const RETRY_MIN_MS = 100;
/** Revoked tokens are to be refused within a second of the store's return. */
const RETRY_MAX_MS = 600;
const CONNECT_TIMEOUT_MS = 5000;
/** A listening connection that cannot answer a trivial query in this time is dead, whatever TCP thinks. */
const ALIVE_TIMEOUT_MS = 5000;
const GOODBYE_MS = 500;

/**
 * Keeps the snapshot up to date: listens first, then reads everything, then what notifications name. When the store
 * goes away the last snapshot stays in force; when it is back everything is read again.
 */
export class Feed {
  readonly #options: FeedOptions;
  readonly #stop = new AbortController();
  #snapshot: Snapshot | null = null;
  #connected = false;
  #changedIds = new Set<string>();
  #tokensChanged = false;
  #wakeUp: () => void = () => undefined;
  #done: Promise<void> = Promise.resolve();

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  /** Null until the store was read for the first time. */
  get snapshot(): Snapshot | null {
    return this.#snapshot;
  }

  /** Whether changes arrive now. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Starts following; never throws, an absent store is waited for. */
  start(): void {
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#wakeUp();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#stop;
    let retryMs = RETRY_MIN_MS;
    let told = false;
    while (!signal.aborted) {
      const lost = await this.#follow(() => {
        if (told) log.info({}, 'the store is back, routes and tokens were read again');
        told = false;
        retryMs = RETRY_MIN_MS;
      });
      this.#connected = false;
      if (signal.aborted) return;
      // Once per outage.
      if (!told)
        log.warn({ reason: errorMessage(lost) }, 'the store is away, serving from the last snapshot');
      told = true;
      // Spread out, so that many gateways do not return in step.
      await sleep(retryMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
    }
  }

  /** One connection's life. Returns why it ended. */
  async #follow(onSynced: () => void): Promise<unknown> {
    const client = new pg.Client({
      connectionString: this.#options.databaseUrl,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: ALIVE_TIMEOUT_MS,
      keepAlive: true,
      application_name: 'gateway feed',
    });
    let lost: unknown = null;
    const onLost = (error: unknown) => {
      lost ??= error ?? new Error('connection closed');
      this.#wakeUp();
    };
    client.on('error', onLost);
    client.on('end', () => onLost(null));
    client.on('notification', ({ payload }) => this.#note(payload));
    try {
      await client.connect();
      await client.query('LISTEN changes');
      await this.#register();
      await this.#readAll();
      this.#connected = true;
      onSynced();
      let resyncAt = this.#nextResync();
      while (lost === null && !this.#stop.signal.aborted) {
        if (Date.now() >= resyncAt) {
          await client.query('SELECT 1');
          await this.#readAll();
          resyncAt = this.#nextResync();
        } else if (this.#changedIds.size > 0 || this.#tokensChanged) await this.#readChanges();
        else await this.#nothingNew(resyncAt - Date.now());
      }
      return lost;
    } catch (error) {
      return error;
    } finally {
      // A dead peer never answers the goodbye.
      await Promise.race([client.end().catch(() => undefined), sleep(GOODBYE_MS)]);
    }
  }

  #nextResync(): number {
    return Date.now() + (this.#options.resyncMs ?? RESYNC_MS) * (0.9 + Math.random() / 5);
  }

  /** Payloads are `endpoint:<id>` and `tokens`; anything else is for others. */
  #note(payload: string | undefined): void {
    if (payload === 'tokens') this.#tokensChanged = true;
    else if (payload?.startsWith('endpoint:')) this.#changedIds.add(payload.slice('endpoint:'.length));
    this.#wakeUp();
  }

  async #nothingNew(forMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(forMs, 0));
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wakeUp = () => undefined;
  }

  /**
   * Be known as a reader before reading: a drain that begins in between must wait for this gateway, which was not there
   * before or has been silent for long.
   */
  async #register(): Promise<void> {
    const { store, gatewayId } = this.#options;
    await reportGateway(store, { gatewayId, version: this.#snapshot?.version ?? 0, loads: [] });
  }

  async #readAll(): Promise<void> {
    const { store, vault, compile } = this.#options;
    this.#changedIds.clear();
    this.#tokensChanged = false;
    const [routes, tokens] = [await loadEndpoints(store, vault), await loadPrincipals(store)];
    const version = Math.max(routes.version, this.#snapshot?.version ?? 0);
    this.#swap(fullSnapshot({ ...routes, version }, tokens, compile));
  }

  async #readChanges(): Promise<void> {
    const { store, vault, compile } = this.#options;
    const before = this.#snapshot;
    if (before === null) return;
    const ids = [...this.#changedIds];
    const tokensChanged = this.#tokensChanged;
    this.#changedIds.clear();
    this.#tokensChanged = false;
    const tokens = tokensChanged ? await loadPrincipals(store) : before.tokens;
    if (ids.length === 0) {
      this.#swap({ ...before, tokens });
      return;
    }
    const routes = await loadChangedEndpoints(store, vault, { ids, sinceVersion: before.version });
    this.#swap({ ...withEndpoints(before, routes, ids, compile), tokens });
  }

  #swap(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#options.onSnapshot(snapshot);
  }
}
