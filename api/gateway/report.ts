import { errorMessage } from '../../spec/errors.ts';
import type { Store } from '../../store/database.ts';
import { forgetGateway, forgetSilentGateways, loadElsewhere, reportGateway } from '../../store/routes.ts';
import type { Load } from './load.ts';
import { NOBODY, type Replicas } from './replicas.ts';

export interface ReporterOptions {
  store: Store;
  gatewayId: string;
  load: Load;
  replicas: Pick<Replicas, 'answers' | 'hear'>;
  /** Route version in force, or null before the first snapshot. */
  version: () => number | null;
  log: { warn(fields: object, message: string): void };
}

/** Changed loads are told so often. */
const LOAD_MS = 1000;
/** Without a change the gateway still says that it lives; drains give up on a gateway silent for 5 s. */
const HEARTBEAT_MS = 2000;
/** What others said longer ago says nothing about now. */
const HEARD_FOR_MS = 3000;
/** What a killed gateway left in the store is removed by any other one that starts later. */
const LEFTOVER_SECONDS = 3600;

/** Tells the store how far this gateway has read the routes and what it has in hand; off the path of requests. */
export class Reporter {
  readonly #options: ReporterOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | null = null;
  #again = false;
  #stopped = false;
  #toldVersion = -1;
  #toldAt = 0;
  #heardAt = 0;
  #failing = false;
  #swept = false;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.#tick(), LOAD_MS);
  }

  /** Tell now, not at the next second: a drain waits for it. */
  soon(): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = this.#report().finally(() => {
      this.#running = null;
      if (!this.#again) return;
      this.#again = false;
      this.soon();
    });
  }

  /** Tells the last state and signs off. A store that is away will notice the silence instead. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopped = true;
    await this.#running;
    if (this.#failing || this.#options.version() === null) return;
    await this.#report();
    await forgetGateway(this.#options.store, this.#options.gatewayId).catch(() => undefined);
  }

  #tick(): void {
    if (Date.now() - this.#heardAt > HEARD_FOR_MS) this.#options.replicas.hear(NOBODY);
    if (this.#options.version() !== null) this.soon();
  }

  async #report(): Promise<void> {
    const { store, gatewayId, load, replicas, version, log } = this.#options;
    const current = version();
    if (current === null) return;
    // Both are read in one go: the loads are those at this version, so requests on a drained replica can only get fewer.
    const loads = load
      .takeChanged()
      .map((taken) => ({ ...taken, answers: replicas.answers(taken.endpointId) }));
    const quiet = loads.length === 0 && current === this.#toldVersion;
    if (quiet && Date.now() - this.#toldAt < HEARTBEAT_MS - LOAD_MS / 2) return;
    try {
      await reportGateway(store, { gatewayId, version: current, loads });
      load.settle(true);
      // Only who has something to balance needs to know.
      if (loads.length > 0) {
        replicas.hear(await loadElsewhere(store, gatewayId));
        this.#heardAt = Date.now();
      }
      if (!this.#swept) await forgetSilentGateways(store, LEFTOVER_SECONDS);
      this.#swept = true;
      this.#toldVersion = current;
      this.#toldAt = Date.now();
      this.#failing = false;
    } catch (error) {
      load.settle(false);
      if (!this.#failing)
        log.warn({ reason: errorMessage(error) }, 'load report not stored, will be repeated');
      this.#failing = true;
    }
  }
}
