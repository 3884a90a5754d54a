import { Bucket } from './bucket.ts';
import type { Refusal } from './errors.ts';
import type { Policy, Rates } from './policy.ts';
import { endpointKey } from './snapshot.ts';

interface Limited {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
}

/** What one key (an endpoint, or a caller of it) has used, in this process and as far as known in the others. */
class Usage {
  readonly key: string;
  requests: Bucket | null = null;
  tokens: Bucket | null = null;
  concurrent = 0;
  /** In the other processes, as they said last. */
  concurrentElsewhere = 0;
  /** Changed since it was last told to the others. */
  changed = true;

  constructor(key: string) {
    this.key = key;
  }

  apply(rates: Rates, now: number): void {
    this.requests = resized(this.requests, rates.requestsPerMinute, now);
    this.tokens = resized(this.tokens, rates.tokensPerMinute, now);
  }

  atRest(now: number): boolean {
    return this.concurrent === 0 && !this.changed && isFull(this.requests, now) && isFull(this.tokens, now);
  }
}

function isFull(bucket: Bucket | null, now: number): boolean {
  return bucket === null || bucket.isFull(now);
}

function resized(bucket: Bucket | null, perMinute: number | null, now: number): Bucket | null {
  if (perMinute === null) return null;
  bucket?.resize(perMinute, now);
  return bucket ?? new Bucket(perMinute, now);
}

/** A request that was let in under limits; give it back when it is over. */
export class Pass {
  /** `RateLimit` and `RateLimit-Policy` as name, value, name, value, for the answer. */
  readonly headers: readonly string[];
  readonly #usages: readonly Usage[];
  #over = false;

  constructor(usages: readonly Usage[], headers: readonly string[]) {
    this.#usages = usages;
    this.headers = headers;
    for (const usage of usages) {
      usage.concurrent += 1;
      usage.changed = true;
    }
  }

  /** The request is over, and has cost so many tokens as far as its engine said. */
  end(tokens: number): void {
    if (this.#over) return;
    this.#over = true;
    for (const usage of this.#usages) {
      usage.concurrent -= 1;
      usage.tokens?.take(tokens, performance.now());
      usage.changed = true;
    }
  }
}

/** What a process tells the others of one key. */
export interface UsageReport {
  key: string;
  /** Taken since the process knows the key. */
  requests: number;
  tokens: number;
  concurrent: number;
  /** What it believes to be left; null where there is no limit. */
  requestsLeft: number | null;
  tokensLeft: number | null;
}

export type ElsewhereReport = UsageReport & { gatewayId: string; ageMs: number };

/** The limits of all endpoints that have some, in this process's memory: deciding waits for nothing. */
export class Limits {
  readonly #usages = new Map<string, Usage>();
  /** What other processes had taken when they last said so, by `<process> <key>`. */
  readonly #elsewhere = new Map<string, { requests: number; tokens: number }>();

  /** Counts a request in, or says why not. `caller` is the token, or the address where there is none. */
  enter(endpoint: Limited, policy: Policy, caller: string, now: number): Pass | Refusal {
    const usages: Usage[] = [];
    const rates: [string, Usage, Rates][] = [];
    if (policy.limits) rates.push(['endpoint', this.#usage(endpoint.id, policy.limits, now), policy.limits]);
    if (policy.tokenLimits) {
      const key = `${endpoint.id} ${caller}`;
      rates.push(['token', this.#usage(key, policy.tokenLimits, now), policy.tokenLimits]);
    }
    for (const [scope, usage, limit] of rates) {
      const refusal = refusalOf(endpoint, scope, usage, limit, now);
      if (refusal) return { ...refusal, headers: headersOf(rates, now) };
      usages.push(usage);
    }
    for (const { requests } of usages) requests?.take(1, now);
    return new Pass(usages, headersOf(rates, now));
  }

  /** Keys somebody used lately. */
  keys(): string[] {
    return [...this.#usages.keys()];
  }

  /** What has changed since the last call. */
  takeChanged(now: number): UsageReport[] {
    const reports: UsageReport[] = [];
    for (const usage of this.#usages.values()) {
      if (!usage.changed) continue;
      usage.changed = false;
      const { key, requests, tokens, concurrent } = usage;
      reports.push({
        key,
        requests: requests?.taken ?? 0,
        tokens: tokens?.taken ?? 0,
        concurrent,
        requestsLeft: requests?.level(now) ?? null,
        tokensLeft: tokens?.level(now) ?? null,
      });
    }
    return reports;
  }

  /** The report did not arrive. */
  tellAgain(reports: readonly UsageReport[]): void {
    for (const { key } of reports) {
      const usage = this.#usages.get(key);
      if (usage) usage.changed = true;
    }
  }

  /** What the other processes have said by now, all of it. */
  learn(reports: readonly ElsewhereReport[], now: number): void {
    for (const usage of this.#usages.values()) usage.concurrentElsewhere = 0;
    /** Of processes heard of for the first time, by key: their levels contain what each other took. */
    const news = new Map<Usage, { requests: number; tokens: number }>();
    for (const report of reports) {
      const usage = this.#usages.get(report.key);
      if (!usage) continue;
      usage.concurrentElsewhere += report.concurrent;
      const id = `${report.gatewayId} ${report.key}`;
      const before = this.#elsewhere.get(id);
      this.#elsewhere.set(id, report);
      if (before) {
        usage.requests?.takenElsewhere(growth(before.requests, report.requests), now);
        usage.tokens?.takenElsewhere(growth(before.tokens, report.tokens), now);
        continue;
      }
      const most = news.get(usage) ?? { requests: 0, tokens: 0 };
      most.requests = Math.max(most.requests, used(usage.requests, report.requestsLeft, report.ageMs));
      most.tokens = Math.max(most.tokens, used(usage.tokens, report.tokensLeft, report.ageMs));
      news.set(usage, most);
    }
    for (const [usage, { requests, tokens }] of news) {
      usage.requests?.takenElsewhere(requests, now);
      usage.tokens?.takenElsewhere(tokens, now);
    }
  }

  /** Forgets who has used nothing for a minute. */
  sweep(now: number): void {
    for (const usage of this.#usages.values()) if (usage.atRest(now)) this.#usages.delete(usage.key);
    for (const id of this.#elsewhere.keys())
      if (!this.#usages.has(id.slice(id.indexOf(' ') + 1))) this.#elsewhere.delete(id);
  }

  #usage(key: string, rates: Rates, now: number): Usage {
    const usage = this.#usages.get(key) ?? new Usage(key);
    this.#usages.set(key, usage);
    usage.apply(rates, now);
    return usage;
  }
}

/** A count that went back began again from nothing. */
function growth(before: number, now: number): number {
  return now >= before ? now - before : now;
}

/** How much of a full bucket is used, as told a while ago. */
function used(bucket: Bucket | null, left: number | null, ageMs: number): number {
  if (bucket === null || left === null) return 0;
  return Math.max(bucket.perMinute - left - (ageMs * bucket.perMinute) / 60_000, 0);
}

function refusalOf(
  endpoint: Limited,
  scope: string,
  usage: Usage,
  rates: Rates,
  now: number,
): Refusal | null {
  const who = scope === 'endpoint' ? `endpoint ${endpointKey(endpoint)}` : 'this caller';
  const where = scope === 'endpoint' ? '' : ` at endpoint ${endpointKey(endpoint)}`;
  if (
    rates.concurrentRequests !== null &&
    usage.concurrent + usage.concurrentElsewhere >= rates.concurrentRequests
  )
    return {
      kind: 'rateLimited',
      message: `${who} may have ${rates.concurrentRequests} requests at a time${where}: wait until one ends`,
      retryAfterSeconds: 1,
    };
  // Tokens are known after the fact: what one request overdraws, later ones wait for.
  for (const [bucket, amount, what] of [
    [usage.requests, 1, 'requests'],
    [usage.tokens, 0, 'tokens'],
  ] as const) {
    if (bucket === null || bucket.level(now) >= Math.max(amount, Number.MIN_VALUE)) continue;
    const waitMs = Math.max(bucket.waitMs(Math.max(amount, 1), now), 1);
    return {
      kind: 'rateLimited',
      message: `${who} may use ${bucket.perMinute} ${what} per minute${where}: try again later`,
      retryAfterSeconds: Math.ceil(waitMs / 1000),
    };
  }
  return null;
}

/** Header fields of draft-ietf-httpapi-ratelimit-headers: quota `q` in window `w`, remaining `r`, full again in `t` seconds. */
function headersOf(rates: readonly [string, Usage, Rates][], now: number): string[] {
  const policies: string[] = [];
  const states: string[] = [];
  for (const [scope, { requests, tokens }] of rates)
    for (const [what, bucket] of [
      ['requests', requests],
      ['tokens', tokens],
    ] as const) {
      if (bucket === null) continue;
      const left = Math.max(Math.floor(bucket.level(now)), 0);
      const fullInSeconds = Math.ceil(bucket.waitMs(bucket.perMinute, now) / 1000);
      policies.push(`"${scope}-${what}";q=${bucket.perMinute};w=60`);
      states.push(`"${scope}-${what}";r=${left};t=${fullInSeconds}`);
    }
  if (policies.length === 0) return [];
  return ['ratelimit-policy', policies.join(', '), 'ratelimit', states.join(', ')];
}
