/** Wakes one waiting loop early; a ring while nobody waits is kept for the next wait. */
export class Bell {
  #rung = false;
  #wake: (() => void) | null = null;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** Resolves at the next ring, after `ms`, or when `signal` is aborted. */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#rung && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(end, ms);
        const wake = end;
        this.#wake = wake;
        signal.addEventListener('abort', wake, { once: true });
        function end() {
          clearTimeout(timer);
          signal.removeEventListener('abort', wake);
          resolve();
        }
      });
    }
    this.#wake = null;
    this.#rung = false;
  }
}
