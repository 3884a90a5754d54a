import type { EndpointLoadReport } from '../../store/routes.ts';
import type { Target } from './replicas.ts';

/** Counters of one endpoint: plain integers, changed only through `Ticket`. */
interface EndpointLoad {
  readonly endpointId: string;
  readonly inFlight: Map<string, number>;
  pending: number;
  requests: number;
  lastRequestAt: number;
  /** `changed` since it was last taken for a report; `taken` by one that is under way; `told` by one that arrived. */
  report: 'changed' | 'taken' | 'told';
}

/** What this process has in hand, by endpoint and in sum. */
export class Load {
  readonly #endpoints = new Map<string, EndpointLoad>();
  /** Requests that were let in since the start, those without a status yet, and those on a replica. */
  readonly total = { requests: 0, pending: 0, inFlight: 0 };
  readonly #onReplicaIdle: (replicaId: string) => void;

  /** `onReplicaIdle` is told when the last request has left a replica. */
  constructor(onReplicaIdle: (replicaId: string) => void = () => undefined) {
    this.#onReplicaIdle = onReplicaIdle;
  }

  /** Counts a request that passed address, token and state: refused ones are no activity. */
  accept(endpointId: string): Ticket {
    const endpoint = this.#endpoints.get(endpointId) ?? this.#add(endpointId);
    endpoint.requests += 1;
    endpoint.lastRequestAt = Date.now();
    this.total.requests += 1;
    return new Ticket(this.total, endpoint, this.#onReplicaIdle);
  }

  /** Loads that changed since they were last taken; `settle` says what became of the report. */
  takeChanged(): Omit<EndpointLoadReport, 'answers'>[] {
    const reports: Omit<EndpointLoadReport, 'answers'>[] = [];
    for (const load of this.#endpoints.values()) {
      if (load.report !== 'changed') continue;
      load.report = 'taken';
      reports.push({
        endpointId: load.endpointId,
        inFlight: Object.fromEntries(load.inFlight),
        pending: load.pending,
        requests: load.requests,
        lastRequestAt: new Date(load.lastRequestAt),
      });
    }
    return reports;
  }

  /** What was taken has arrived, or has to be told again. */
  settle(arrived: boolean): void {
    for (const load of this.#endpoints.values())
      if (load.report === 'taken') load.report = arrived ? 'told' : 'changed';
  }

  /** Forgets endpoints that are gone, once nothing of theirs is in hand and the store knows: a drain may wait for it. */
  keepOnly(exists: (endpointId: string) => boolean): void {
    for (const load of this.#endpoints.values())
      if (
        load.report === 'told' &&
        load.pending === 0 &&
        load.inFlight.size === 0 &&
        !exists(load.endpointId)
      )
        this.#endpoints.delete(load.endpointId);
  }

  #add(endpointId: string): EndpointLoad {
    const load: EndpointLoad = {
      endpointId,
      inFlight: new Map(),
      pending: 0,
      requests: 0,
      lastRequestAt: 0,
      report: 'changed',
    };
    this.#endpoints.set(endpointId, load);
    return load;
  }
}

/**
 * One accepted request's mark on the counters. Each of its steps counts once however often it is called, so the
 * counters return to zero on every way a request can end.
 */
export class Ticket {
  readonly #total: Load['total'];
  readonly #endpoint: EndpointLoad;
  readonly #onReplicaIdle: (replicaId: string) => void;
  #pending = true;
  #target: Target | null = null;

  constructor(total: Load['total'], endpoint: EndpointLoad, onReplicaIdle: (replicaId: string) => void) {
    this.#total = total;
    this.#endpoint = endpoint;
    this.#onReplicaIdle = onReplicaIdle;
    total.pending += 1;
    endpoint.pending += 1;
    endpoint.report = 'changed';
  }

  /** On its way to a replica; leaves the one it was on before. */
  send(target: Target): void {
    this.leave();
    const { inFlight } = this.#endpoint;
    this.#target = target;
    target.inFlight += 1;
    this.#total.inFlight += 1;
    inFlight.set(target.replicaId, (inFlight.get(target.replicaId) ?? 0) + 1);
    this.#endpoint.report = 'changed';
  }

  /** No longer on a replica. */
  leave(): void {
    const target = this.#target;
    if (target === null) return;
    this.#target = null;
    target.inFlight -= 1;
    this.#total.inFlight -= 1;
    const { inFlight } = this.#endpoint;
    const rest = (inFlight.get(target.replicaId) ?? 1) - 1;
    if (rest > 0) inFlight.set(target.replicaId, rest);
    else inFlight.delete(target.replicaId);
    this.#endpoint.report = 'changed';
    if (rest === 0) this.#onReplicaIdle(target.replicaId);
  }

  /** Has a response status now. */
  answer(): void {
    if (!this.#pending) return;
    this.#pending = false;
    this.#total.pending -= 1;
    this.#endpoint.pending -= 1;
    this.#endpoint.report = 'changed';
  }

  /** Over, whatever became of it. */
  close(): void {
    this.leave();
    this.answer();
  }
}
