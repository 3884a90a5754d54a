import type { Answers } from '../../spec/lifecycle.ts';
import { type Elsewhere, routeOrigin } from '../../store/routes.ts';
import type { RoutedReplica } from '../../store/snapshot.ts';
import { RecentKeys } from './prefix.ts';
import type { Snapshot } from './snapshot.ts';
import { takesConnections } from './takes-connections.ts';
import { Connections } from './upstream/connections.ts';

/** A replica as this process sees it: its connections, and what it has to do with them. */
export interface Target {
  readonly replicaId: string;
  readonly endpointId: string;
  readonly origin: URL;
  /** Value of the Authorization header its engine asks for. */
  readonly authorization: string;
  readonly connections: Connections;
  /** Requests and tunnels of this process on it. */
  inFlight: number;
  /** Requests of other gateways on it, as they last reported. */
  elsewhere: number;
  /** Not picked: it did not take a connection, and has not taken one since. */
  aside: boolean;
  /** Picked before this time only when there is no other, because it answered with errors. */
  ejectedUntil: number;
  /** Server errors in a row. */
  errors: number;
  /** Of this process, for the report. */
  readonly counts: Answers;
  /** When its route came; long ago for those that were there before this process. */
  readonly newSince: number;
  /** What prompts it has seen; stays empty unless the endpoint balances by them. */
  readonly recent: RecentKeys;
}

/**
 * One that takes no connection is mostly gone or not up yet, and the route table tells within a moment; or its host drops what is
 * sent to it, and then a request would wait in vain. So it is tried without one, this often and this long.
 */
const TRY_EVERY_MS = 500;
const TRY_MS = 1000;
/** So many server errors in a row are no accident: an engine that fails at once has the fewest in flight of all. */
const MAX_ERRORS = 5;
const EJECT_MS = 10_000;

/** The replicas in the snapshot with their connections, and which of them may be given new requests. */
export class Replicas {
  #targets = new Map<string, Target>();
  #ready = new Map<string, readonly Target[]>();
  #draining = new Set<string>();
  #applied = false;
  #elsewhere: Elsewhere = NOBODY;
  readonly #onUsable: (endpointId: string) => void;

  /** `onUsable` is told of an endpoint one of whose replicas is no longer set aside. */
  constructor(onUsable: (endpointId: string) => void) {
    this.#onUsable = onUsable;
  }

  /** Replicas of an endpoint whose route is `ready`, set aside or not. */
  ready(endpointId: string): readonly Target[] {
    return this.#ready.get(endpointId) ?? NONE;
  }

  /** True from the moment this process has seen that the replica gets no new requests, until its route is gone. */
  isDraining(replicaId: string): boolean {
    return this.#draining.has(replicaId);
  }

  /** Whether other gateways send requests to the same replicas. */
  get shared(): boolean {
    return this.#elsewhere.gateways > 0;
  }

  /** What other gateways have in flight, as they last said. */
  hear(elsewhere: Elsewhere): void {
    if (elsewhere.gateways === 0 && this.#elsewhere.gateways === 0) return;
    this.#elsewhere = elsewhere;
    for (const target of this.#targets.values())
      target.elsewhere = elsewhere.inFlight.get(target.replicaId) ?? 0;
  }

  /** Takes over the routes of a new snapshot. Replicas that are left finish what runs on them. */
  apply(snapshot: Snapshot): void {
    const targets = new Map<string, Target>();
    const ready = new Map<string, Target[]>();
    const draining = new Set<string>();
    const newSince = this.#applied ? Date.now() : 0;
    this.#applied = true;
    for (const endpoint of snapshot.endpoints.values()) {
      for (const replica of endpoint.replicas) {
        const target = this.#reuse(replica) ?? open(replica, endpoint.id, newSince);
        targets.set(replica.replicaId, target);
        if (replica.state !== 'ready') {
          draining.add(replica.replicaId);
          continue;
        }
        const list = ready.get(endpoint.id);
        if (list) list.push(target);
        else ready.set(endpoint.id, [target]);
      }
    }
    const left = [...this.#targets.values()].filter((old) => targets.get(old.replicaId) !== old);
    this.#targets = targets;
    this.#ready = ready;
    this.#draining = draining;
    for (const target of left) target.connections.close();
  }

  /** How the routed replicas of an endpoint answered this process, by replica; those that were never asked are left out. */
  answers(endpointId: string): Record<string, Answers> {
    const found: Record<string, Answers> = {};
    for (const { replicaId, counts } of this.ready(endpointId))
      if (counts.answers > 0) found[replicaId] = counts;
    return found;
  }

  /** It took no connection: it is not picked until it takes one. */
  setAside(target: Target): void {
    count(target, true);
    if (target.aside) return;
    target.aside = true;
    this.#tryLater(target);
  }

  #tryLater(target: Target): void {
    setTimeout(async () => {
      const routed = () => this.#targets.get(target.replicaId) === target;
      if (!routed()) return;
      const usable = await takesConnections(target.origin, TRY_MS);
      if (!routed()) return;
      if (!usable) return this.#tryLater(target);
      target.aside = false;
      this.#onUsable(target.endpointId);
    }, TRY_EVERY_MS).unref();
  }

  /** Counts a response, or its absence, as good or bad for the replica. One that keeps failing is second choice for a while. */
  note(target: Target, failed: boolean): void {
    count(target, failed);
    if (!failed) {
      target.errors = 0;
      target.counts.failing = false;
      return;
    }
    target.errors += 1;
    if (target.errors < MAX_ERRORS) return;
    target.ejectedUntil = Date.now() + EJECT_MS;
    target.counts.failing = true;
  }

  /** A response that counted as good when it began was broken off by the replica. */
  brokeOff(target: Target): void {
    target.counts.errors += 1;
  }

  /** Ends all connections at once. */
  destroy(): void {
    for (const target of this.#targets.values()) target.connections.destroy();
  }

  #reuse(replica: RoutedReplica): Target | undefined {
    const target = this.#targets.get(replica.replicaId);
    const same =
      target?.origin.href === routeOrigin(replica.address).href &&
      target.authorization === `Bearer ${replica.engineKey}`;
    return same ? target : undefined;
  }
}

const NONE: readonly Target[] = [];
/** No other gateway is heard of. */
export const NOBODY: Elsewhere = { gateways: 0, inFlight: new Map() };

function count({ counts }: Target, failed: boolean): void {
  counts.answers += 1;
  if (failed) counts.errors += 1;
}

function open(replica: RoutedReplica, endpointId: string, newSince: number): Target {
  const origin = routeOrigin(replica.address);
  return {
    replicaId: replica.replicaId,
    endpointId,
    origin,
    authorization: `Bearer ${replica.engineKey}`,
    connections: new Connections(origin),
    inFlight: 0,
    elsewhere: 0,
    aside: false,
    ejectedUntil: 0,
    errors: 0,
    counts: { answers: 0, errors: 0, failing: false },
    newSince,
    recent: new RecentKeys(),
  };
}
