import cluster, { type Worker } from 'node:cluster';
import type { Registry } from 'prom-client';

/** What one process counts, as the metrics library gives it. */
export type Families = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

/** One that says nothing by then is left out: it has only just started, or does not go on. */
const TOLD_WITHIN_MS = 1000;
/** After it the process that forks is taken for gone. */
const COLLECTED_WITHIN_MS = 2000;

const COLLECT = 'scrape: collect';
const TELL = 'scrape: tell';
interface Told {
  told: Families;
}
interface Collected {
  collected: Families[];
}

/**
 * A scrape comes to one of several processes that share a port, and must not hear of that one alone. It asks the process
 * that forked it (`collectForScrapes`), which asks all of them.
 */
export class Scrape {
  readonly #own: () => Promise<Families>;
  #running: Promise<Families[]> | null = null;
  readonly #onMessage = (message: unknown): void => {
    if (message === TELL) void this.#own().then((told) => process.send?.({ told } satisfies Told));
  };

  constructor(own: () => Promise<Families>) {
    this.#own = own;
    if (cluster.isWorker) process.on('message', this.#onMessage);
  }

  /** Of every process of this machine, this one included; of this one alone when it was not forked. */
  all(): Promise<Families[]> {
    this.#running ??= this.#all().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #all(): Promise<Families[]> {
    return (cluster.isWorker && (await collected())) || [await this.#own()];
  }
}

/** Null when the process that forked this one does not answer. */
function collected(): Promise<Families[] | null> {
  return new Promise((resolve) => {
    const end = (all: Families[] | null) => {
      clearTimeout(timer);
      process.off('message', onMessage);
      resolve(all);
    };
    const onMessage = (message: unknown) => {
      if (has<Collected>(message, 'collected')) end(message.collected);
    };
    const timer = setTimeout(end, COLLECTED_WITHIN_MS, null);
    process.on('message', onMessage);
    process.send?.(COLLECT, (error: Error | null) => {
      if (error) end(null);
    });
  });
}

/** In the process that forks: answers each that collects with what all of them tell. */
export function collectForScrapes(): void {
  let running: Promise<Families[]> | null = null;
  cluster.on('message', (asking, message) => {
    if (message !== COLLECT) return;
    running ??= collect().finally(() => {
      running = null;
    });
    void running.then((all) => asking.send({ collected: all } satisfies Collected, () => undefined));
  });
}

async function collect(): Promise<Families[]> {
  const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
  const told = await Promise.all(workers.map(tell));
  return told.filter((families) => families !== null);
}

/** Null when it does not in time. */
function tell(worker: Worker): Promise<Families | null> {
  return new Promise((resolve) => {
    const end = (families: Families | null) => {
      clearTimeout(timer);
      worker.off('message', onMessage);
      resolve(families);
    };
    const onMessage = (message: unknown) => {
      if (has<Told>(message, 'told')) end(message.told);
    };
    const timer = setTimeout(end, TOLD_WITHIN_MS, null);
    worker.on('message', onMessage);
    worker.send(TELL, (error) => {
      if (error) end(null);
    });
  });
}

/** Messages between our own processes need no further look. */
function has<T>(message: unknown, key: keyof T & string): message is T {
  return typeof message === 'object' && message !== null && key in message;
}
