import { errorMessage } from '../../spec/errors.ts';
import type { Store } from '../../store/database.ts';
import { readLimitCounts, reportLimitCounts } from '../../store/limits.ts';
import type { Limits } from './limits.ts';

const SHARE_MS = 1000;
const SWEEP_MS = 60_000;

/**
 * Keeps the limits of several gateway processes together: each tells the store once a second what it let through, and
 * takes what the others told off its own. So all of them together let through what the limit says and, in a burst, at
 * most what each lets through of it in a second more. Nothing is told or asked while nothing limited is used.
 */
export class LimitShare {
  readonly #limits: Limits;
  readonly #store: Store;
  readonly #gatewayId: string;
  readonly #log: { warn(fields: object, message: string): void };
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | null = null;
  #failing = false;
  #sweptAt = 0;

  constructor(
    limits: Limits,
    deps: { store: Store; gatewayId: string; log: { warn(fields: object, message: string): void } },
  ) {
    this.#limits = limits;
    this.#store = deps.store;
    this.#gatewayId = deps.gatewayId;
    this.#log = deps.log;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#running ??= this.#share().finally(() => {
        this.#running = null;
      });
    }, SHARE_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  async #share(): Promise<void> {
    const now = performance.now();
    if (now - this.#sweptAt > SWEEP_MS) {
      this.#limits.sweep(now);
      this.#sweptAt = now;
    }
    const keys = this.#limits.keys();
    if (keys.length === 0) return;
    const changed = this.#limits.takeChanged(now);
    try {
      if (changed.length > 0) await reportLimitCounts(this.#store, this.#gatewayId, changed);
      this.#limits.learn(await readLimitCounts(this.#store, this.#gatewayId, keys), performance.now());
      this.#failing = false;
    } catch (error) {
      this.#limits.tellAgain(changed);
      if (!this.#failing)
        this.#log.warn(
          { reason: errorMessage(error) },
          'limits are this gateway’s own while the store is away',
        );
      this.#failing = true;
    }
  }
}
