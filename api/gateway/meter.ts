import { classOf } from '../../spec/histogram.ts';
import type { LoadMinute, UsageMinute } from '../../store/usage.ts';

/** How a request ended. */
export interface Ending {
  /** Of the answer; 0 when the client left before there was one. */
  readonly status: number;
  /** '' when no replica was asked. */
  readonly replicaId: string;
  /** Had an answer before (`answered`). */
  readonly answered: boolean;
  readonly ms: number;
  /** Until the first byte of the answer's body; null when there was none. */
  readonly firstByteMs: number | null;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

/** An endpoint's name is kept with the numbers, which outlive it. */
interface Metered {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
}

/** What one token does at one endpoint. Times are those of `performance.now()`. */
export class Account {
  readonly #endpoint: Metered;
  readonly #tokenId: string;
  #inFlight = 0;
  #pending = 0;
  #settledAt = 0;
  #inFlightMs = 0;
  #pendingMs = 0;
  /** The last one is the one that most requests belong to. */
  #rows: UsageMinute[] = [];

  constructor(endpoint: Metered, tokenId: string) {
    this.#endpoint = endpoint;
    this.#tokenId = tokenId;
  }

  begin(now: number): void {
    this.#settle(now);
    this.#inFlight += 1;
    this.#pending += 1;
  }

  answered(now: number): void {
    this.#settle(now);
    this.#pending -= 1;
  }

  end(now: number, minute: number, ending: Ending): void {
    this.#settle(now);
    this.#inFlight -= 1;
    if (!ending.answered) this.#pending -= 1;
    const row = this.#row(minute, ending.status, ending.replicaId);
    row.requests += 1;
    row.durationMs += ending.ms;
    count(row.durations, ending.ms);
    if (ending.firstByteMs !== null) {
      row.firstByteMs += ending.firstByteMs;
      count(row.firstBytes, ending.firstByteMs);
    }
    row.requestBytes += ending.requestBytes;
    row.responseBytes += ending.responseBytes;
    row.promptTokens += ending.promptTokens;
    row.completionTokens += ending.completionTokens;
  }

  /** Hands over what has come together. False when nothing is left here to wait for. */
  take(now: number, minute: number, into: { usage: UsageMinute[]; load: LoadMinute[] }): boolean {
    this.#settle(now);
    into.usage.push(...this.#rows);
    this.#rows = [];
    if (this.#inFlightMs > 0)
      into.load.push({
        endpointId: this.#endpoint.id,
        minute,
        tokenId: this.#tokenId,
        inFlightMs: this.#inFlightMs,
        pendingMs: this.#pendingMs,
      });
    this.#inFlightMs = 0;
    this.#pendingMs = 0;
    return this.#inFlight > 0;
  }

  /** Requests in hand, times the time since they last became more or fewer. */
  #settle(now: number): void {
    const ms = now - this.#settledAt;
    this.#settledAt = now;
    this.#inFlightMs += this.#inFlight * ms;
    this.#pendingMs += this.#pending * ms;
  }

  #row(minute: number, status: number, replicaId: string): UsageMinute {
    for (let i = this.#rows.length - 1; i >= 0; i--) {
      const row = this.#rows[i] as UsageMinute;
      if (row.minute === minute && row.status === status && row.replicaId === replicaId) return row;
    }
    const { id, namespace, name } = this.#endpoint;
    const row: UsageMinute = {
      endpointId: id,
      namespace,
      endpoint: name,
      minute,
      tokenId: this.#tokenId,
      replicaId,
      status,
      requests: 0,
      durationMs: 0,
      durations: [],
      firstByteMs: 0,
      firstBytes: [],
      requestBytes: 0,
      responseBytes: 0,
      promptTokens: 0,
      completionTokens: 0,
    };
    this.#rows.push(row);
    return row;
  }
}

function count(counts: number[], ms: number): void {
  const index = classOf(ms);
  for (let i = counts.length; i <= index; i++) counts.push(0);
  counts[index] = (counts[index] ?? 0) + 1;
}

/** What this process has done since it last told the store, by endpoint and token. */
export class Meter {
  readonly #endpoints = new Map<string, Map<string, Account>>();

  /** `tokenId` is '' where there is none. */
  account(endpoint: Metered, tokenId: string): Account {
    let accounts = this.#endpoints.get(endpoint.id);
    if (!accounts) {
      accounts = new Map();
      this.#endpoints.set(endpoint.id, accounts);
    }
    let account = accounts.get(tokenId);
    if (!account) {
      account = new Account(endpoint, tokenId);
      accounts.set(tokenId, account);
    }
    return account;
  }

  /** All that has come together since the last call; null when nothing has. `at` is milliseconds since the epoch. */
  take(now: number, at: number): { usage: UsageMinute[]; load: LoadMinute[] } | null {
    const taken = { usage: [], load: [] };
    for (const [endpointId, accounts] of this.#endpoints) {
      for (const [tokenId, account] of accounts)
        if (!account.take(now, minuteOf(at), taken)) accounts.delete(tokenId);
      if (accounts.size === 0) this.#endpoints.delete(endpointId);
    }
    return taken.usage.length + taken.load.length > 0 ? taken : null;
  }
}

export function minuteOf(at: number): number {
  return at - (at % 60_000);
}
