/** Load of recorded shapes: requests per second over time, drawn from fixed seeds so that every run sees the same. */

export interface Trace {
  name: string;
  about: string;
  /** Requests that arrive in each second. */
  arrivals: number[];
  /** From ordering a replica to its first answer. */
  startSeconds: number;
  seed: number;
}

export interface Shape extends Omit<Trace, 'arrivals' | 'seed'> {
  minutes: number;
  rateAt(second: number): number;
}

const MINUTE = 60;

/** Small, fast, and the same everywhere: mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** How many of a Poisson process of this rate fall into one second. */
function poisson(rate: number, random: () => number): number {
  const limit = Math.exp(-rate);
  let product = random();
  let count = 0;
  while (product > limit) {
    product *= random();
    count += 1;
  }
  return count;
}

/** One trace of a shape; another seed is another day. */
export function traceOf({ minutes, rateAt, ...shape }: Shape, seed: number): Trace {
  const random = randomFrom(seed);
  const arrivals = Array.from({ length: minutes * MINUTE }, (_, s) => poisson(rateAt(s), random));
  return { ...shape, arrivals, seed };
}

const isBusy = (second: number, everyMinutes: number, fromMinute: number, minutes: number) => {
  const at = second % (everyMinutes * MINUTE);
  return at >= fromMinute * MINUTE && at < (fromMinute + minutes) * MINUTE;
};

export const SHAPES: readonly Shape[] = [
  { name: 'steady', about: '4 requests/s', minutes: 60, startSeconds: 15, rateAt: () => 4 },
  {
    name: 'ramp',
    about: 'up to 12 requests/s in 20 minutes, and down again',
    minutes: 60,
    startSeconds: 15,
    rateAt: (s) => Math.max(0.5, Math.min(12, s / 100, (3600 - s) / 100)),
  },
  {
    name: 'spikes',
    about: '1 request/s, and 14 for one minute in ten',
    minutes: 60,
    startSeconds: 15,
    rateAt: (s) => (isBusy(s, 10, 4, 1) ? 14 : 1),
  },
  {
    name: 'on-off',
    about: '8 requests/s for three minutes, almost none for three',
    minutes: 60,
    startSeconds: 15,
    rateAt: (s) => (isBusy(s, 6, 0, 3) ? 8 : 0.2),
  },
  {
    name: 'slow-steps',
    about: '3, 9, 5 and 3 requests/s; a replica needs two minutes to start',
    minutes: 80,
    startSeconds: 120,
    rateAt: (s) => (s < 600 ? 3 : s < 2100 ? 9 : s < 3300 ? 5 : 3),
  },
  {
    name: 'slow-spikes',
    about: '2 requests/s, and 8 for five minutes in twenty; two minutes to start',
    minutes: 80,
    startSeconds: 120,
    rateAt: (s) => (isBusy(s, 20, 5, 5) ? 8 : 2),
  },
];
