/** How long a stream may say nothing, in ms. */
export interface Patience {
  first: number;
  later: number;
}

/**
 * Cuts a stream that has gone silent: `signal` is aborted when nothing was heard for `patience.first` from the start, or
 * for `patience.later` after that, or when `outer` is aborted.
 */
export class SilenceCut {
  readonly #silence = new AbortController();
  readonly #patience: Patience;
  #timer: NodeJS.Timeout;
  /** For how long nothing was heard when it was cut; null while it was not. */
  silentMs: number | null = null;
  readonly signal: AbortSignal;

  constructor(patience: Patience, outer?: AbortSignal) {
    this.#patience = patience;
    this.signal = outer ? AbortSignal.any([this.#silence.signal, outer]) : this.#silence.signal;
    this.#timer = this.#start(patience.first);
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#start(this.#patience.later);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #start(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.silentMs = ms;
      this.#silence.abort();
    }, ms);
  }
}
