import type { CallFailure } from './upstream/connection.ts';

/** An attempt that brought no head of an answer. */
export interface FailedAttempt extends Pick<CallFailure, 'kind' | 'reused' | 'received'> {
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
   * Without a connection the request did nothing: the search for a replica goes on, and knows when to end. When no more
   * requests were taken for the replica, or the engine closed a connection that had been idle and most likely never read
   * the request, it is repeated. Otherwise the replica died with it: that is tried elsewhere once, so that a dying
   * replica costs no answer, and no more often, so that a request which kills engines does not kill them all.
   */
  failed({ kind, reused, received, replayable }: FailedAttempt): Verdict {
    if (kind === 'noConnection') return 'elsewhere';
    if (kind === 'garbled' || kind === 'ended') return 'giveUp';
    if (kind === 'lost' && (received || !replayable)) return 'giveUp';
    const harmless = kind === 'closed' || reused;
    if (harmless && this.#retries < MAX_RETRIES) {
      this.#retries += 1;
      return 'repeat';
    }
    this.#deaths += 1;
    return this.#deaths <= MAX_DEATHS ? 'elsewhere' : 'giveUp';
  }
}
