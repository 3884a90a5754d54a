import { randomFrom, type Trace } from './traces.ts';

/**
 * One endpoint under a trace, second by second: a queue, replicas that answer two requests at a time and take a while to
 * start, and a policy that says how many there should be.
 */

/** What a policy sees, once a second. */
export interface Sight {
  second: number;
  /** Requests without an answer, those in work included. */
  pending: number;
  /** Accepted since the beginning. */
  requests: number;
  ready: number;
  starting: number;
}

export interface Policy {
  name: string;
  /** How many replicas there should be from now on. */
  decide(sight: Sight): number;
}

export interface Outcome {
  policy: string;
  /** Seconds that requests waited before a replica took them, all together. */
  waitingSeconds: number;
  /** Of a request, in seconds. */
  p95WaitSeconds: number;
  /** From order to stop. */
  replicaSeconds: number;
  /** Ready, and ordered, by the second. */
  ready: number[];
  ordered: number[];
}

/** Requests a replica answers at a time; more wait. */
export const SLOTS = 2;

const MEAN_SERVICE_SECONDS = 1;
export const MAX_REPLICA = 12;

export function simulate(trace: Trace, policy: Policy): Outcome {
  const random = randomFrom(trace.seed + 1000);
  const queue: number[] = [];
  const waits: number[] = [];
  /** Seconds of work left, a list for each ready replica; and when the others will be ready. */
  let replicas: number[][] = [[]];
  let starting: number[] = [];
  let draining: number[][] = [];
  let requests = 0;
  const out: Outcome = {
    policy: policy.name,
    waitingSeconds: 0,
    p95WaitSeconds: 0,
    replicaSeconds: 0,
    ready: [],
    ordered: [],
  };
  const step = 0.1;
  for (const [second, arriving] of trace.arrivals.entries()) {
    requests += arriving;
    const at = Array.from({ length: arriving }, () => second + random()).sort((a, b) => a - b);
    for (let tick = 0; tick < 1 / step; tick += 1) {
      const now = second + tick * step;
      while (at[0] !== undefined && at[0] <= now + step) queue.push(at.shift() ?? now);
      for (const list of [replicas, draining])
        for (const [i, work] of list.entries())
          list[i] = work.map((left) => left - step).filter((left) => left > 0);
      draining = draining.filter((work) => work.length > 0);
      for (;;) {
        const free = replicas.filter((work) => work.length < SLOTS).sort((a, b) => a.length - b.length)[0];
        const first = free && queue.shift();
        if (first === undefined) break;
        free?.push(-Math.log(1 - random()) * MEAN_SERVICE_SECONDS);
        waits.push(Math.max(0, now + step - first));
      }
    }
    while (starting[0] !== undefined && starting[0] <= second) {
      starting.shift();
      replicas.push([]);
    }
    const inWork = replicas.reduce((sum, work) => sum + work.length, 0);
    const want = policy.decide({
      second,
      pending: queue.length + inWork,
      requests,
      ready: replicas.length,
      starting: starting.length,
    });
    const target = Math.min(Math.max(want, 1), MAX_REPLICA);
    while (replicas.length + starting.length < target) starting.push(second + trace.startSeconds);
    // As the plan does: the ones still on their way first, then the youngest.
    while (replicas.length + starting.length > target && starting.length > 0)
      starting = starting.slice(0, -1);
    if (replicas.length > target) {
      draining.push(...replicas.slice(target));
      replicas = replicas.slice(0, target);
    }
    out.waitingSeconds += queue.length;
    out.replicaSeconds += replicas.length + starting.length + draining.length;
    out.ready.push(replicas.length);
    out.ordered.push(replicas.length + starting.length);
  }
  waits.sort((a, b) => a - b);
  out.p95WaitSeconds = waits[Math.floor(waits.length * 0.95)] ?? 0;
  return out;
}
