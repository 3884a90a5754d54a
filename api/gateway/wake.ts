import { errorMessage } from '../../spec/errors.ts';
import type { RoutedEndpoint } from '../../store/snapshot.ts';
import { endpointKey } from './snapshot.ts';

/** Tells the workflow of an endpoint that a request came; rejects when it could not be told. */
export type Wake = (namespace: string, name: string) => Promise<void>;

/** A second request soon after needs no second signal; so long after the first, that one may have been lost. */
const AGAIN_WHILE_ASLEEP_MS = 3000;
/** An endpoint on its way up knows already; the reminder is for one whose workflow missed it. */
const AGAIN_WHILE_STARTING_MS = 30_000;

interface Log {
  warn(fields: object, message: string): void;
}

/** Sends wake signals, few and never awaited by a request. */
export class Waker {
  readonly #wake: Wake;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #lastAt = new Map<string, number>();
  #sent = 0;

  constructor(wake: Wake, log: Log, now: () => number = Date.now) {
    this.#wake = wake;
    this.#log = log;
    this.#now = now;
  }

  /** Signals sent since the start. */
  get sent(): number {
    return this.#sent;
  }

  /** A request needs this endpoint. Call it for every such request and again while requests are held. */
  ask(endpoint: Pick<RoutedEndpoint, 'namespace' | 'name' | 'state'>): void {
    const key = endpointKey(endpoint);
    const now = this.#now();
    const again = endpoint.state === 'scaledToZero' ? AGAIN_WHILE_ASLEEP_MS : AGAIN_WHILE_STARTING_MS;
    if (now - (this.#lastAt.get(key) ?? Number.NEGATIVE_INFINITY) < again) return;
    this.#lastAt.set(key, now);
    this.#sent += 1;
    this.#wake(endpoint.namespace, endpoint.name).catch((error: unknown) => {
      // Let the next round try again, but not before a moment has passed.
      this.#lastAt.set(key, this.#now() - again + AGAIN_WHILE_ASLEEP_MS);
      this.#log.warn({ endpoint: key, reason: errorMessage(error) }, 'wake signal not delivered');
    });
  }

  /** Forgets endpoints that have a replica by now: a later sleep is a new one. */
  forget(isServed: (key: string) => boolean): void {
    for (const key of this.#lastAt.keys()) if (isServed(key)) this.#lastAt.delete(key);
  }
}
