import { autoscale, type LoadMemory, NO_MEMORY } from '../../workflows/policy/autoscale.ts';
import { MAX_REPLICA, type Policy, type Sight } from './simulate.ts';

/** Pending requests for each replica that all three aim at: the public API's default. */
const TARGET = 1.5;

/** The policy of this system, with the start time it would have learned. */
export function ours(startSeconds: number): Policy {
  let memory: LoadMemory = NO_MEMORY;
  return {
    name: 'this system',
    decide: ({ second, pending, requests, ready, starting }) => {
      const look = {
        scaling: { minReplica: 1, maxReplica: MAX_REPLICA, scaleToZeroTimeout: null, measure: null },
        pending,
        requests,
        inFlight: 0,
        hardwarePercent: null,
        lastRequestAt: null,
        readyReplica: ready,
        targetReplica: ready + starting,
        startingReplica: starting,
        readySince: 0,
        startSeconds,
      };
      const next = autoscale(memory, look, second * 1000);
      memory = next.memory;
      return next.decision?.replicas ?? ready + starting;
    },
  };
}

class Window {
  readonly #samples: { second: number; value: number }[] = [];

  add(second: number, value: number): void {
    this.#samples.push({ second, value });
  }
  over(second: number, length: number): number[] {
    return this.#samples.filter((s) => second - s.second < length).map((s) => s.value);
  }
  mean(second: number, length: number): number {
    const values = this.over(second, length);
    return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  }
}

/**
 * As Knative's pod autoscaler does with its defaults: every 2 s, mean concurrency over 60 s; panic when the mean over 6 s
 * asks for twice what is ready, no scale-down until that has been over for 60 s; at most a halving at once.
 */
export function knative(): Policy {
  const load = new Window();
  let panicSince: number | null = null;
  let want = 1;
  return {
    name: 'Knative-style',
    decide: ({ second, pending, ready, starting }: Sight) => {
      load.add(second, pending);
      if (second % 2 !== 0) return want;
      const within = (mean: number) =>
        Math.max(Math.ceil(mean / TARGET), Math.floor(Math.max(1, ready) / 2), 1);
      const stable = within(load.mean(second, 60));
      const panic = within(load.mean(second, 6));
      if (panic / Math.max(1, ready) >= 2) panicSince = second;
      else if (panicSince !== null && second - panicSince >= 60) panicSince = null;
      want = panicSince === null ? stable : Math.max(panic, ready + starting);
      want = Math.min(want, MAX_REPLICA);
      return want;
    },
  };
}

/**
 * As the managed service documents it: once a minute one replica more when the mean over 20 s is above the threshold;
 * every two minutes down to the highest demand of 300 s.
 */
export function managed(): Policy {
  const load = new Window();
  const demand = new Window();
  let want = 1;
  return {
    name: 'HF-style',
    decide: ({ second, pending, ready }: Sight) => {
      load.add(second, pending);
      const asked = Math.max(1, Math.ceil(load.mean(second, 20) / TARGET));
      demand.add(second, asked);
      if (second % 60 === 0 && asked > ready) want = Math.min(MAX_REPLICA, want + 1);
      else if (second % 120 === 0) want = Math.min(want, Math.max(...demand.over(second, 300)));
      return want;
    },
  };
}
