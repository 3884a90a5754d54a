import cluster, { type Worker } from 'node:cluster';
import type { Registry } from 'prom-client';

/** What one process counts, as the metrics library gives it. */
export type Families = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

/** One that says nothing by then is left out: it has only just started, or does not go on. */
const TOLD_WITHIN_MS = 1000;
/** After it the process that forks is taken for gone. */
const COLLECTED_WITHIN_MS = 2000;

/** What processes ask each other, by what the answer has in it. */
const QUESTIONS = { told: 'scrape: tell', collected: 'scrape: collect' } as const;
interface Answers {
  told: Families;
  collected: Families[];
}

/**
 * A scrape comes to one of several processes that share a port, and must not hear of that one alone. It asks the process
 * that forked it (`collectForScrapes`), which asks all of them.
 */
export class Scrape {
  readonly #own: () => Promise<Families>;
  #running: Promise<Families[]> | null = null;

  constructor(own: () => Promise<Families>) {
    this.#own = own;
    cluster.worker?.on('message', (message: unknown) => {
      if (message === QUESTIONS.told) void own().then((told) => answer({ told }));
    });
  }

  /** Of every process of this machine, this one included; of this one alone when it was not forked. */
  all(): Promise<Families[]> {
    this.#running ??= this.#all().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #all(): Promise<Families[]> {
    const all = cluster.worker && (await ask(cluster.worker, 'collected', COLLECTED_WITHIN_MS));
    return all ?? [await this.#own()];
  }
}

/** In the process that forks: answers each that collects with what all of them tell. */
export function collectForScrapes(): void {
  let running: Promise<Families[]> | null = null;
  cluster.on('message', (asking, message) => {
    if (message !== QUESTIONS.collected) return;
    running ??= collect().finally(() => {
      running = null;
    });
    void running.then((collected) => answer({ collected }, asking));
  });
}

async function collect(): Promise<Families[]> {
  const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
  const told = await Promise.all(workers.map((worker) => ask(worker, 'told', TOLD_WITHIN_MS)));
  return told.filter((families) => families !== null);
}

/** Asks the process at the other end; null when it does not answer in time. */
function ask<K extends keyof Answers>(peer: Worker, wanted: K, withinMs: number): Promise<Answers[K] | null> {
  return new Promise((resolve) => {
    const end = (said: Answers[K] | null) => {
      clearTimeout(timer);
      peer.off('message', onMessage);
      resolve(said);
    };
    const onMessage = (message: unknown) => {
      if (isAnswer(message, wanted)) end(message[wanted]);
    };
    const timer = setTimeout(end, withinMs, null);
    peer.on('message', onMessage);
    peer.send(QUESTIONS[wanted], (error) => {
      if (error) end(null);
    });
  });
}

/** One that is gone by now needs it no more. */
function answer(said: Partial<Answers>, asking: Worker | undefined = cluster.worker): void {
  asking?.send(said, () => undefined);
}

/** Messages between our own processes need no further look. */
function isAnswer<K extends keyof Answers>(message: unknown, wanted: K): message is Pick<Answers, K> {
  return typeof message === 'object' && message !== null && wanted in message;
}
