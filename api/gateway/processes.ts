import cluster, { type Worker } from 'node:cluster';
import { setTimeout as sleep } from 'node:timers/promises';
import { nextDelayMs } from '../../runtime/backoff.ts';

/** What a process is told when another has taken its place. */
export const RETIRE = 'retire';
/** In the environment of one that starts beside others: those serve while it reads its first routes. */
export const LISTEN_WHEN_READY = 'GATEWAY_LISTEN_WHEN_READY';

/** A replacement that does not serve by then (the store is away, say) is given up. */
const REPLACEMENT_TIMEOUT_MS = 120_000;
/** Below the 8 s after which `onShutdown` gives up on us; a process lets requests end for 6 s. */
const STOP_MS = 7500;
/** Beyond the drain, for signing off in the store. */
const RETIRE_RESERVE_MS = 10_000;

export interface ProcessesOptions {
  count: number;
  /** What each one runs. */
  file: string;
  /** How long requests of a replaced process may take to end. */
  drainMs: number;
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

/** The place of one process. */
interface Slot {
  worker: Worker | null;
  /** What was waited before its last start. */
  delayMs: number;
}

/**
 * The gateway processes of one machine. They share one listening socket, and whichever is free takes the next connection;
 * with a socket for each (SO_REUSEPORT) those that wait for a process would be lost when it ends. One that ends is
 * started again.
 */
export class Processes {
  readonly #options: ProcessesOptions;
  readonly #slots: Slot[];
  readonly #alive = new Set<Worker>();
  readonly #stopping = new AbortController();
  #replacing: Promise<void> | null = null;

  constructor(options: ProcessesOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.count }, () => ({ worker: null, delayMs: 0 }));
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    cluster.setupPrimary({ exec: options.file });
  }

  /** Resolves when all serve. @throws Error when one ends before that; nothing is started again then */
  async start(): Promise<void> {
    const [first, ...others] = this.#slots;
    // One alone at first: what is wrong is said once.
    if (first) await this.#fill(first);
    await Promise.all(others.map((slot) => this.#fill(slot)));
  }

  /** Starts another process in every one's place, one after the other; each old one ends when its requests have. */
  async replace(): Promise<void> {
    // Who asks in the meantime wants processes younger than his wish.
    while (this.#replacing) await this.#replacing;
    this.#replacing = this.#replaceAll().finally(() => {
      this.#replacing = null;
    });
    await this.#replacing;
  }

  /** Ends all of them. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const ended = [...this.#alive].map((worker) => exitOf(worker));
    for (const worker of this.#alive) worker.process.kill('SIGTERM');
    const late = setTimeout(() => {
      for (const worker of this.#alive) worker.process.kill('SIGKILL');
    }, STOP_MS);
    await Promise.all(ended);
    clearTimeout(late);
  }

  async #replaceAll(): Promise<void> {
    const { log } = this.#options;
    for (const slot of this.#slots) {
      if (this.#stopping.signal.aborted) return;
      const old = slot.worker;
      // One that has just ended is being started anyway.
      if (old === null) continue;
      try {
        await this.#fill(slot, REPLACEMENT_TIMEOUT_MS);
      } catch (error) {
        if (!this.#stopping.signal.aborted)
          log.warn({ reason: String(error) }, 'no replacement, the process in place stays');
        return;
      }
      this.#retire(old);
    }
    log.info({ count: this.#slots.length }, 'all processes replaced');
  }

  /** Starts the slot's process. @throws Error when it does not serve (in time); the one in its place stays */
  async #fill(slot: Slot, timeoutMs: number | null = null): Promise<void> {
    const startedAt = performance.now();
    const worker = cluster.fork(this.#alive.size > 0 ? { [LISTEN_WHEN_READY]: '1' } : {});
    this.#alive.add(worker);
    const ended = exitOf(worker);
    void ended.then(() => this.#alive.delete(worker));
    const late = timeoutMs === null ? null : setTimeout(() => worker.process.kill('SIGKILL'), timeoutMs);
    await serves(worker, ended).finally(() => clearTimeout(late ?? undefined));
    slot.worker = worker;
    void ended.then((how) => {
      // Replaced ones are meant to end.
      if (slot.worker === worker) void this.#refill(slot, how, performance.now() - startedAt);
    });
  }

  async #refill(slot: Slot, how: string, upMs: number): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#stopping;
    slot.worker = null;
    slot.delayMs = nextDelayMs(slot.delayMs, upMs);
    let why = how;
    while (!signal.aborted) {
      log.warn({ why, restartInMs: slot.delayMs }, 'a gateway process ended');
      await sleep(slot.delayMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await this.#fill(slot);
        return;
      } catch (error) {
        why = String(error);
        slot.delayMs = nextDelayMs(slot.delayMs, 0);
      }
    }
  }

  #retire(worker: Worker): void {
    worker.send(RETIRE, () => undefined);
    const timer = setTimeout(() => worker.process.kill('SIGKILL'), this.#options.drainMs + RETIRE_RESERVE_MS);
    void exitOf(worker).then(() => clearTimeout(timer));
  }
}

/** How it ended, in words. */
function exitOf(worker: Worker): Promise<string> {
  return new Promise((resolve) => {
    worker.once('exit', (code, signal) => resolve(signal ? `killed by ${signal}` : `exit code ${code}`));
  });
}

/** Resolves with the process's `{ ready: true }`. @throws Error when it ends before that */
function serves(worker: Worker, ended: Promise<string>): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.on('message', (message: unknown) => {
      if (typeof message === 'object' && message !== null && 'ready' in message) resolve();
    });
    void ended.then((how) => reject(new Error(`it ended before it served: ${how}`)));
  });
}
