import type { Timeouts } from './policy.ts';

/** The time limits of one request whose endpoint has some. */
export class Deadlines {
  readonly #timeouts: Timeouts;
  readonly #onLate: (what: string) => void;
  readonly #total: NodeJS.Timeout | undefined;
  #firstByte: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;

  /** `onLate` is told once, with what took too long: a part of a sentence. */
  constructor(timeouts: Timeouts, onLate: (what: string) => void) {
    this.#timeouts = timeouts;
    this.#onLate = onLate;
    this.#total = this.#after(timeouts.totalMs, 'the answer was not complete');
  }

  /** A replica has been asked. */
  asked(): void {
    clearTimeout(this.#firstByte);
    this.#firstByte = this.#after(this.#timeouts.firstByteMs, 'the answer had not begun');
  }

  /** A part of the answer has come. */
  part(): void {
    if (this.#idle) {
      this.#idle.refresh();
      return;
    }
    clearTimeout(this.#firstByte);
    this.#idle = this.#after(this.#timeouts.idleMs, 'no further part of the answer came');
  }

  /** The attempt is over, or the request. */
  leave(): void {
    clearTimeout(this.#firstByte);
    clearTimeout(this.#idle);
    this.#idle = undefined;
  }

  end(): void {
    this.leave();
    clearTimeout(this.#total);
  }

  #after(ms: number | null, what: string): NodeJS.Timeout | undefined {
    if (ms === null) return undefined;
    return setTimeout(() => {
      this.end();
      this.#onLate(`${what} within ${ms / 1000} s`);
    }, ms);
  }
}
