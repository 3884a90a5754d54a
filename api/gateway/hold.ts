/** A request that waits for a replica. */
export interface Waiter {
  /** Bytes of its body kept in memory meanwhile. */
  readonly bytes: number;
  /** A replica may be had: try again. */
  go(): void;
  /** Waited long enough. */
  giveUp(): void;
}

export interface HoldLimits {
  /** Per endpoint. */
  maxHeldRequests: number;
  maxHeldBytes: number;
}

interface Queue {
  /** In the order of arrival. */
  readonly waiters: Set<Waiter>;
  bytes: number;
}

/** Requests held for endpoints without a usable replica: one queue per endpoint, bounded in number, bytes and time. */
export class Hold {
  readonly #queues = new Map<string, Queue>();
  readonly #limits: HoldLimits;
  #count = 0;

  constructor(limits: HoldLimits) {
    this.#limits = limits;
  }

  /** Requests held now. */
  get count(): number {
    return this.#count;
  }

  /** Endpoints somebody waits for. */
  waitedFor(): string[] {
    return [...this.#queues.keys()];
  }

  /**
   * Queues a request for at most `forMs`. Returns the function that takes it out again without an answer (its client
   * has left), or null when the queue is full.
   */
  enter(endpointId: string, waiter: Waiter, forMs: number): (() => void) | null {
    const queue = this.#queues.get(endpointId) ?? { waiters: new Set<Waiter>(), bytes: 0 };
    if (queue.waiters.size >= this.#limits.maxHeldRequests) return null;
    if (queue.bytes + waiter.bytes > this.#limits.maxHeldBytes) return null;
    const timed: Waiter = {
      bytes: waiter.bytes,
      go: () => {
        clearTimeout(timer);
        waiter.go();
      },
      giveUp: () => {
        clearTimeout(timer);
        waiter.giveUp();
      },
    };
    const timer = setTimeout(() => {
      this.#remove(endpointId, queue, timed);
      waiter.giveUp();
    }, forMs);
    this.#queues.set(endpointId, queue);
    queue.waiters.add(timed);
    queue.bytes += waiter.bytes;
    this.#count += 1;
    return () => {
      clearTimeout(timer);
      this.#remove(endpointId, queue, timed);
    };
  }

  /** Lets everybody who waits for the endpoint try again, first come first. Who finds nothing may enter again. */
  release(endpointId: string): void {
    for (const waiter of this.#takeAll(endpointId)) waiter.go();
  }

  /** Sends everybody away: this process ends. */
  giveUpAll(): void {
    for (const endpointId of this.waitedFor())
      for (const waiter of this.#takeAll(endpointId)) waiter.giveUp();
  }

  #takeAll(endpointId: string): Waiter[] {
    const queue = this.#queues.get(endpointId);
    if (!queue) return [];
    this.#queues.delete(endpointId);
    const waiters = [...queue.waiters];
    queue.waiters.clear();
    this.#count -= waiters.length;
    return waiters;
  }

  #remove(endpointId: string, queue: Queue, waiter: Waiter): void {
    if (!queue.waiters.delete(waiter)) return;
    queue.bytes -= waiter.bytes;
    this.#count -= 1;
    if (queue.waiters.size === 0 && this.#queues.get(endpointId) === queue) this.#queues.delete(endpointId);
  }
}
