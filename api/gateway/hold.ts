/** A request that waits for a replica. */
export interface Waiter {
  /** Bytes of its body kept in memory meanwhile. */
  readonly bytes: number;
  /** A replica may be had: try again. */
  go(): void;
  /** Waited long enough, or pushed out because too many wait. `position` is the place it had, 1 for the first. */
  giveUp(why: 'time' | 'full' | 'end', position: number): void;
}

export interface HoldLimits {
  /** Per endpoint. */
  maxHeldRequests: number;
  maxHeldBytes: number;
  /** Of all endpoints together, shared out evenly when it is used up. */
  maxHeldRequestsTotal: number;
  maxHeldBytesTotal: number;
}

export interface Held {
  leave(): void;
  place(): number;
}

interface Queue {
  /** In the order of arrival. */
  readonly waiters: Set<Waiter>;
  bytes: number;
}

/**
 * Requests held for endpoints without a usable replica: one queue per endpoint, bounded in number, bytes and time. All
 * queues together are bounded too, and fairly: when there is no room left, a newcomer of an endpoint that has less than
 * its even share takes the place of the newest request of the one that has most.
 */
export class Hold {
  readonly #queues = new Map<string, Queue>();
  readonly #limits: HoldLimits;
  #count = 0;
  #bytes = 0;

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
   * Queues a request for at most `forMs`. Returns how to take it out again without an answer (its client has left) and
   * its place in the queue, 1 for the first; null when the queue is full.
   */
  enter(endpointId: string, waiter: Waiter, forMs: number): Held | null {
    const queue = this.#queues.get(endpointId) ?? { waiters: new Set<Waiter>(), bytes: 0 };
    if (queue.waiters.size >= this.#limits.maxHeldRequests) return null;
    if (queue.bytes + waiter.bytes > this.#limits.maxHeldBytes) return null;
    if (!this.#makeRoom(queue, waiter.bytes)) return null;
    const timed: Waiter = {
      bytes: waiter.bytes,
      go: () => {
        clearTimeout(timer);
        waiter.go();
      },
      giveUp: (why, position) => {
        clearTimeout(timer);
        waiter.giveUp(why, position);
      },
    };
    const timer = setTimeout(() => {
      const position = placeOf(timed, queue);
      this.#remove(endpointId, queue, timed);
      waiter.giveUp('time', position);
    }, forMs);
    this.#queues.set(endpointId, queue);
    queue.waiters.add(timed);
    queue.bytes += waiter.bytes;
    this.#count += 1;
    this.#bytes += waiter.bytes;
    return {
      leave: () => {
        clearTimeout(timer);
        this.#remove(endpointId, queue, timed);
      },
      place: () => placeOf(timed, queue),
    };
  }

  /** Lets everybody who waits for the endpoint try again, first come first. Who finds nothing may enter again. */
  release(endpointId: string): void {
    for (const waiter of this.#takeAll(endpointId)) waiter.go();
  }

  /** Sends everybody away: this process ends. */
  giveUpAll(): void {
    for (const endpointId of this.waitedFor())
      for (const [i, waiter] of this.#takeAll(endpointId).entries()) waiter.giveUp('end', i + 1);
  }

  #takeAll(endpointId: string): Waiter[] {
    const queue = this.#queues.get(endpointId);
    if (!queue) return [];
    this.#queues.delete(endpointId);
    const waiters = [...queue.waiters];
    queue.waiters.clear();
    this.#count -= waiters.length;
    this.#bytes -= queue.bytes;
    return waiters;
  }

  /** Requests of an endpoint that are held now. */
  length(endpointId: string): number {
    return this.#queues.get(endpointId)?.waiters.size ?? 0;
  }

  /** True when one more request fits, after others that have more than their share had to go for it. */
  #makeRoom(queue: Queue, bytes: number): boolean {
    const { maxHeldRequestsTotal, maxHeldBytesTotal } = this.#limits;
    const waiting = this.#queues.size + (queue.waiters.size === 0 ? 1 : 0);
    while (this.#count >= maxHeldRequestsTotal || this.#bytes + bytes > maxHeldBytesTotal) {
      const scarce: Scarce = this.#count >= maxHeldRequestsTotal ? 'requests' : 'bytes';
      const [own, share] =
        scarce === 'requests'
          ? [queue.waiters.size + 1, maxHeldRequestsTotal / waiting]
          : [queue.bytes + bytes, maxHeldBytesTotal / waiting];
      if (own > share || !this.#pushOut(scarce, share, queue)) return false;
    }
    return true;
  }

  /** Sends away the newest request of the endpoint that has most. False when nobody has more than the share. */
  #pushOut(scarce: Scarce, share: number, except: Queue): boolean {
    let most: [string, Queue] | null = null;
    let mostUsed = share;
    for (const [endpointId, queue] of this.#queues) {
      const used = scarce === 'requests' ? queue.waiters.size : queue.bytes;
      if (queue === except || used <= mostUsed) continue;
      most = [endpointId, queue];
      mostUsed = used;
    }
    if (!most) return false;
    const [endpointId, queue] = most;
    const waiters = [...queue.waiters];
    // Sending away one without a body would not make room for bytes.
    const newest = waiters.findLast((waiter) => scarce === 'requests' || waiter.bytes > 0);
    if (!newest) return false;
    this.#remove(endpointId, queue, newest);
    newest.giveUp('full', waiters.indexOf(newest) + 1);
    return true;
  }

  #remove(endpointId: string, queue: Queue, waiter: Waiter): void {
    if (!queue.waiters.delete(waiter)) return;
    queue.bytes -= waiter.bytes;
    this.#bytes -= waiter.bytes;
    this.#count -= 1;
    if (queue.waiters.size === 0 && this.#queues.get(endpointId) === queue) this.#queues.delete(endpointId);
  }
}

type Scarce = 'requests' | 'bytes';

function placeOf(waiter: Waiter, queue: Queue): number {
  let place = 1;
  for (const other of queue.waiters) {
    if (other === waiter) return place;
    place += 1;
  }
  return place;
}
