import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage } from '../../spec/errors.ts';
import type { Store } from '../../store/database.ts';
import { forgetUsage, reportUsage, type UsageBatch } from '../../store/usage.ts';
import type { Meter } from './meter.ts';

/**
 * A killed process loses what it has done since it last told: at most a second of it, while the store answers. What a
 * second has over this is for the writing, and for a timer that is late.
 */
const REPORT_MS = 800;
/** How long a process that ends tries to tell the rest. */
const LAST_WORD_MS = 1000;
const AGAIN_MS = 200;
const FORGET_MS = 3_600_000;

export interface UsageReporterOptions {
  meter: Meter;
  store: Store;
  gatewayId: string;
  /** Minutes are kept so long. */
  keepDays: number;
  log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
}

/**
 * Tells the store what was metered, in numbered batches. One whose answer is lost is told again as it was, and counts
 * once. While the store is away the rest comes together in memory, by minute.
 */
export class UsageReporter {
  readonly #options: UsageReporterOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<boolean> | null = null;
  /** Told but not known to be counted. */
  #batch: UsageBatch | null = null;
  #number = 0;
  #failing = false;
  /** A random part of the first hour, so that of many gateways not all forget at once. */
  #forgetAt = Date.now() + FORGET_MS * Math.random();

  constructor(options: UsageReporterOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#report(), REPORT_MS);
  }

  /** Call it when the last request has ended: tells everything that is left. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
    const until = Date.now() + LAST_WORD_MS;
    // Twice: a batch that waited to be repeated, then what came after it.
    while (!(await this.#report()) || !(await this.#report())) {
      if (Date.now() > until) {
        this.#options.log.error({}, 'the store is away: what was metered last is lost');
        return;
      }
      await sleep(AGAIN_MS);
    }
  }

  /** False when the store did not take it. */
  #report(): Promise<boolean> {
    this.#running ??= this.#tell().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #tell(): Promise<boolean> {
    const { store, log } = this.#options;
    const batch = this.#batch ?? this.#next();
    try {
      if (batch !== null) await reportUsage(store, batch);
      this.#batch = null;
      this.#failing = false;
      await this.#forget();
      return true;
    } catch (error) {
      if (!this.#failing) log.warn({ reason: errorMessage(error) }, 'usage not stored, will be told again');
      this.#failing = true;
      return false;
    }
  }

  #next(): UsageBatch | null {
    const { meter, gatewayId } = this.#options;
    const taken = meter.take(performance.now(), Date.now());
    if (taken === null) return null;
    this.#number += 1;
    this.#batch = { gatewayId, batch: this.#number, ...taken };
    return this.#batch;
  }

  async #forget(): Promise<void> {
    if (Date.now() < this.#forgetAt) return;
    this.#forgetAt = Date.now() + FORGET_MS;
    await forgetUsage(this.#options.store, this.#options.keepDays);
  }
}
