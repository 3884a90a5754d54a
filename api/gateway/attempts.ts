/** An attempt that brought no byte of an answer. */
export interface FailedAttempt {
  /** undici's or the system's. */
  readonly code: unknown;
  /** It had a connection, so that an engine may have read something of the request. */
  readonly started: boolean;
  /** One that had been used before. */
  readonly reusedConnection: boolean;
  /** Something came from the engine, though no head of an answer. */
  readonly received: boolean;
  /** The body can be sent once more. */
  readonly replayable: boolean;
}

/** Sent again as it is; sent to another replica, or held until there is one; the caller is told. */
export type Verdict = 'repeat' | 'elsewhere' | 'giveUp';

/** Attempts after the first one, for a request that may have reached an engine. */
const MAX_RETRIES = 2;
/** Replicas that may end under one request before its caller is told. */
const MAX_DEATHS = 1;

/** Counts the failed attempts of one request, and says what is right after each. */
export class Attempts {
  #retries = 0;
  #deaths = 0;

  /**
   * Without a connection the request did nothing: the search for a replica goes on, and knows when to end. When the
   * connections were closed under it, or the engine closed a connection that had been idle and most likely never read
   * the request, it is repeated. Otherwise the replica died with it: that is tried elsewhere once, so that a dying
   * replica costs no answer, and no more often, so that a request which kills engines does not kill them all.
   */
  failed({ code, started, reusedConnection, received, replayable }: FailedAttempt): Verdict {
    const poolClosed = code === 'UND_ERR_CLOSED' || code === 'UND_ERR_DESTROYED';
    if (!started && !poolClosed) return 'elsewhere';
    const closedByEngine = code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
    if (started && (!closedByEngine || received || !replayable)) return 'giveUp';
    const harmless = !started || reusedConnection;
    if (harmless && this.#retries < MAX_RETRIES) {
      this.#retries += 1;
      return 'repeat';
    }
    this.#deaths += 1;
    return this.#deaths <= MAX_DEATHS ? 'elsewhere' : 'giveUp';
  }
}
