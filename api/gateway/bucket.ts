/** What fills up again in so long. */
const FULL_MS = 60_000;

/**
 * A measure of which `perMinute` may be used in a minute: a bucket that holds a minute's worth, fills evenly and may be
 * in debt, because some costs (tokens) are known only afterwards. Times are milliseconds of a monotonic clock.
 */
export class Bucket {
  /** All that was ever taken from here, for the other processes. */
  taken = 0;
  #perMinute: number;
  #level: number;
  #at: number;

  constructor(perMinute: number, now: number) {
    this.#perMinute = perMinute;
    this.#level = perMinute;
    this.#at = now;
  }

  get perMinute(): number {
    return this.#perMinute;
  }

  /** The limit has been changed: what was used stays used. */
  resize(perMinute: number, now: number): void {
    if (perMinute === this.#perMinute) return;
    this.#level = Math.min(this.level(now) + perMinute - this.#perMinute, perMinute);
    this.#perMinute = perMinute;
  }

  level(now: number): number {
    const filled = (Math.max(now - this.#at, 0) * this.#perMinute) / FULL_MS;
    this.#level = Math.min(this.#level + filled, this.#perMinute);
    this.#at = now;
    return this.#level;
  }

  take(amount: number, now: number): void {
    this.#level = this.level(now) - amount;
    this.taken += amount;
  }

  /** Another process has taken so much. */
  takenElsewhere(amount: number, now: number): void {
    this.#level = this.level(now) - amount;
  }

  /** Milliseconds until there is `amount` in it, 0 when there is. */
  waitMs(amount: number, now: number): number {
    return (Math.max(amount - this.level(now), 0) * FULL_MS) / this.#perMinute;
  }

  isFull(now: number): boolean {
    return this.level(now) >= this.#perMinute;
  }
}
