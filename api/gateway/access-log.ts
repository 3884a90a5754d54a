/** One request as the access log has it. Never a header's or a query's value: they hold keys and prompts. */
export interface AccessEntry {
  readonly method: string;
  /** `<namespace>/<name>`; null when the request named no endpoint it may use. */
  readonly endpoint: string | null;
  /** Null when the client left before there was one. */
  readonly status: number | null;
  /** From the request's head to the end of the answer. */
  readonly ms: number;
  /** Of the answer's body, as sent by the engine; of a WebSocket, all that went to the client. */
  readonly bytes: number;
  /** Null when no replica was asked. */
  readonly replica: string | null;
  readonly requestId: string;
  /** `clientLeft` and `brokenOff` (by the replica) are answers without their end; `refused` ones are our own. */
  readonly outcome: 'complete' | 'refused' | 'clientLeft' | 'brokenOff';
}

/** Writes a share of all requests, as one JSON line each, to the process's log. */
export class AccessLog {
  /** False when nothing is ever written: then no entry needs to be made. */
  readonly on: boolean;
  readonly #sample: number;
  readonly #log: { info(fields: object, message: string): void };
  readonly #random: () => number;

  /** `sample` is the share, 0 to 1. */
  constructor(
    log: { info(fields: object, message: string): void },
    sample: number,
    random: () => number = Math.random,
  ) {
    this.on = sample > 0;
    this.#sample = sample;
    this.#log = log;
    this.#random = random;
  }

  note(entry: AccessEntry): void {
    if (this.#random() < this.#sample)
      this.#log.info({ ...entry, ms: Math.round(entry.ms * 10) / 10 }, 'request');
  }
}
