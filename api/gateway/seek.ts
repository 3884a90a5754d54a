import type { RoutedEndpoint } from '../../store/snapshot.ts';
import { hopeless } from './admission.ts';
import { pick } from './balance.ts';
import type { Refusal } from './errors.ts';
import type { Hold } from './hold.ts';
import { pickByPrefix } from './prefix.ts';
import type { Replicas, Target } from './replicas.ts';
import { pickBySession } from './session.ts';
import { endpointKey, type Snapshot } from './snapshot.ts';
import { waitEstimate, whenToRetry } from './wait-estimate.ts';
import type { Waker } from './wake.ts';

/** What every request of this process shares. */
export interface SeekContext {
  readonly replicas: Replicas;
  readonly hold: Hold;
  readonly waker: Waker;
  snapshot(): Snapshot | null;
  /** The process ends: nothing is held any more. */
  closing(): boolean;
}

/** Other replicas tried at once after a refused connection; after that the request is held like any other. */
const MAX_RETRIES = 2;

/** Who looks for a replica. One of the two is called, now or later; `found` again after a failed attempt. */
export interface Seeker {
  found(target: Target): void;
  refused(refusal: Refusal): void;
  /** The request waits now. */
  held?(): void;
}

/** Finds a replica for one request: at once where one can be had, else by waking the endpoint and waiting. */
export class Seek {
  readonly #context: SeekContext;
  readonly #endpoint: RoutedEndpoint;
  /** The one the endpoint was found in. */
  readonly #snapshot: Snapshot | null;
  readonly #until: number;
  readonly #seeker: Seeker;
  #leave: (() => void) | null = null;
  /** Its place in the queue, while it is in one. */
  #place: (() => number) | null = null;
  #bytes = 0;
  #heldAt: number | null = null;
  #keys: readonly number[] | null = null;
  #session: string | null = null;
  /** Connections refused in a row, since the request was last held. */
  #failures = 0;

  /** `holdMs` is how long the request may be held in all; `early` asks for a replica before one is looked for. */
  constructor(context: SeekContext, endpoint: RoutedEndpoint, holdMs: number, seeker: Seeker, early = true) {
    this.#context = context;
    this.#endpoint = endpoint;
    this.#snapshot = context.snapshot();
    this.#until = Date.now() + holdMs;
    this.#seeker = seeker;
    // Before the body is read: a sleeping endpoint starts while it comes in. Unless it may be that nobody need start.
    if (early && context.replicas.ready(endpoint.id).length === 0) context.waker.ask(endpoint);
  }

  /** Bytes that a held request keeps in memory. */
  set bytes(bytes: number) {
    this.#bytes = bytes;
  }

  /** Of the prompt or session, when the endpoint balances by them: see `prefix.ts`. */
  set keys(keys: readonly number[] | null) {
    this.#keys = keys;
  }

  /** The id of the session it belongs to, when the endpoint keeps sessions together: see `session.ts`. */
  set session(id: string | null) {
    this.#session = id;
  }

  /** Looks for a replica. `avoid` is taken only when there is no other. */
  next(avoid: Target | null = null): void {
    const target = this.#failures > MAX_RETRIES ? null : this.#pick(avoid);
    if (target) this.#seeker.found(target);
    else this.#wait();
  }

  /** The replica took no connection: it is left alone for a moment, and another one is looked for. */
  afterConnectFailure(target: Target): void {
    this.#failures += 1;
    this.#context.replicas.setAside(target);
    this.next(target);
  }

  /** The client has left. */
  cancel(): void {
    this.#leave?.();
    this.#leave = null;
  }

  #pick(avoid: Target | null): Target | null {
    if (this.#current()?.phase === 'paused') return null;
    const targets = this.#context.replicas.ready(this.#endpoint.id);
    const now = Date.now();
    return this.#choose(targets, avoid, now) ?? (avoid && this.#choose(targets, null, now));
  }

  #choose(targets: readonly Target[], avoid: Target | null, now: number): Target | null {
    const random = this.#context.replicas.shared ? Math.random : null;
    const turn = nextTurn();
    if (targets.length === 1 || (this.#session === null && this.#keys === null))
      return pick(targets, avoid, turn, now, random);
    if (this.#session !== null) return pickBySession(targets, this.#session, avoid, turn, now, random);
    const keys = this.#keys ?? [];
    const target = pickByPrefix(targets, keys, avoid, turn, now, random);
    target?.recent.remember(keys);
    return target;
  }

  #wait(): void {
    const refusal = this.#enterHold();
    if (refusal) this.#seeker.refused(refusal);
  }

  /** Null when the request is held now, else why not. */
  #enterHold(): Refusal | null {
    const { hold, waker, replicas, closing } = this.#context;
    const endpoint = this.#current();
    const key = endpointKey(this.#endpoint);
    if (!endpoint) return { kind: 'notFound', message: `endpoint ${key} does not exist any more` };
    const refusal = hopeless(endpoint, replicas.ready(endpoint.id).length > 0);
    if (refusal) return refusal;
    const leftMs = this.#until - Date.now();
    if (leftMs <= 0 || closing()) return this.#inVain();
    const held = hold.enter(
      endpoint.id,
      {
        bytes: this.#bytes,
        go: () => this.#resume(),
        giveUp: (why, queuePosition) => this.#seeker.refused({ ...this.#gaveUp(why), queuePosition }),
      },
      leftMs,
    );
    if (held === null) return { ...this.#gaveUp('full'), queuePosition: hold.length(endpoint.id) + 1 };
    this.#leave = held.leave;
    this.#place = held.place;
    waker.ask(endpoint);
    this.#heldAt ??= Date.now();
    this.#seeker.held?.();
    return null;
  }

  #gaveUp(why: 'time' | 'full' | 'end'): Refusal {
    this.#leave = null;
    if (why !== 'full') return this.#inVain();
    const { state } = this.#current() ?? this.#endpoint;
    return {
      kind: 'holdFull',
      message: `endpoint ${endpointKey(this.#endpoint)} is ${state} and too many requests wait for it or others already; try again later`,
      state,
      ...whenToRetry(this.#estimate()),
    };
  }

  /** Seconds until there is likely to be a replica; null when nobody knows, or there is one that takes no requests. */
  #estimate(): number | null {
    const { id } = this.#endpoint;
    if (this.#context.replicas.ready(id).length > 0) return null;
    const now = Date.now();
    return waitEstimate(this.#current() ?? this.#endpoint, this.#heldAt ?? now, now);
  }

  /** How long the request has waited for a replica so far, in milliseconds; null when it did not have to. */
  get heldMs(): number | null {
    return this.#heldAt === null ? null : Date.now() - this.#heldAt;
  }

  /** For who waits: `state=initializing position=2 waited=5 estimate=12`, the last two in seconds. */
  get status(): string {
    const { state } = this.#current() ?? this.#endpoint;
    const position = this.#place?.() ?? 0;
    const estimate = this.#estimate();
    return [
      `state=${state}`,
      ...(position > 0 ? [`position=${position}`] : []),
      `waited=${Math.round((this.heldMs ?? 0) / 1000)}`,
      ...(estimate === null ? [] : [`estimate=${estimate}`]),
    ].join(' ');
  }

  /** Out of the hold: the routes have changed, or a replica that was set aside may be tried again. */
  #resume(): void {
    this.#leave = null;
    this.#failures = 0;
    this.next();
  }

  /** Why the waiting has ended without a replica. */
  #inVain(): Refusal {
    const key = endpointKey(this.#endpoint);
    const { state } = this.#current() ?? this.#endpoint;
    if (this.#context.closing())
      return { kind: 'unavailable', message: 'this gateway is stopping; try again', state };
    if (this.#failures > 0)
      return {
        kind: 'upstreamFailed',
        message: `no replica of endpoint ${key} accepts connections; try again`,
        state,
      };
    return {
      kind: 'notReady',
      message: `endpoint ${key} is ${state} and has no ready replica yet; try again, or wait longer with X-Scale-Up-Timeout: <seconds>`,
      state,
      ...whenToRetry(this.#estimate()),
    };
  }

  /** The endpoint as it is now; undefined when it is gone, also when another took its name. */
  #current(): RoutedEndpoint | undefined {
    const snapshot = this.#context.snapshot();
    if (snapshot === this.#snapshot) return this.#endpoint;
    const endpoint = snapshot?.endpoints.get(endpointKey(this.#endpoint));
    return endpoint?.id === this.#endpoint.id ? endpoint : undefined;
  }
}

/**
 * How long a request may be held, in milliseconds: `X-Scale-Up-Timeout` (seconds, 0: not at all) up to the limit, else
 * the default. A sentence when the header is not a number.
 */
export function holdMs(
  header: string | string[] | undefined,
  limits: { holdSeconds: number; maxHoldSeconds: number },
): number | string {
  if (header === undefined) return limits.holdSeconds * 1000;
  const seconds = Number(header);
  if (header === '' || !Number.isFinite(seconds) || seconds < 0)
    return 'X-Scale-Up-Timeout must be a number of seconds, 0 or more';
  return Math.min(seconds, limits.maxHoldSeconds) * 1000;
}

let turn = 0;

function nextTurn(): number {
  turn = (turn + 1) % 0x40000000;
  return turn;
}
