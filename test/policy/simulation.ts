import type { ErrorCode } from '../../spec/errors.ts';
import type { Desired, Projection, ReplicaView } from '../../spec/lifecycle.ts';
import { isStarting } from '../../spec/states.ts';
import { adopt, carryOut, type EndpointMemory, hear, type News } from '../../workflows/policy/memory.ts';
import { type Plan, plan } from '../../workflows/policy/plan.ts';
import { newReplica } from '../../workflows/policy/view.ts';
import { desired, NOW } from './examples.ts';

/** What one round did. */
export interface Round {
  before: EndpointMemory;
  plan: Plan;
  projection: Projection;
}

/**
 * One endpoint in a world that a test moves: the store's wish, the replicas as they really are, and the decisions of the
 * endpoint's workflow, in the order in which it takes them. Replicas tell of themselves as their workflows do.
 */
export class Simulation {
  now = NOW;
  wish: Desired;
  memory: EndpointMemory | null = null;
  /** Replicas that are not over, as they are. */
  real: ReplicaView[] = [];
  /** Places on all hosts together. */
  places: number;
  /** Revisions whose replicas fail to start, and by what. */
  readonly bad = new Map<number, ErrorCode>();
  /** Revisions that fit on no host. */
  readonly large = new Set<number>();
  projection: Projection | null = null;
  /** Replicas whose end waits for no host any more. */
  readonly #abandoned = new Set<number>();
  #news: { woken: boolean; asked: number | null; views: ReplicaView[] } = {
    woken: false,
    asked: null,
    views: [],
  };

  constructor(wish: Partial<Desired> = {}, places = 100) {
    this.wish = desired(wish);
    this.places = places;
  }

  write(change: Partial<Desired>): void {
    this.wish = { ...this.wish, ...change, generation: this.wish.generation + 1 };
  }
  wake(): void {
    this.#news.woken = true;
  }
  ask(replicas: number): void {
    this.#news.asked = replicas;
  }

  /** One round of the endpoint's workflow. */
  round(): Round {
    const before = adopt(this.memory, this.wish);
    const news: News = { ...this.#news, retriesOnce: true, slowCrashes: true };
    this.#news = { woken: false, asked: null, views: [] };
    const heard = hear(before, this.wish, news, this.now);
    const next = plan(this.wish, heard, this.now);
    const after = carryOut(heard, next, this.now);
    for (const { number, standby, reason } of next.stop) {
      const replica = this.real.find((r) => r.number === number);
      if (!replica) continue;
      if (reason === 'deleted') this.#abandoned.add(number);
      Object.assign(replica, standby ? { resting: standby } : { stopping: true, resting: undefined });
      replica.stage = 'draining';
    }
    for (const number of next.wake) {
      const replica = this.real.find((r) => r.number === number);
      if (replica) Object.assign(replica, { resting: undefined, stage: 'initializing' });
    }
    for (let number = heard.nextNumber; number < after.nextNumber; number += 1)
      this.real.push(newReplica(number, next.revision, this.now));
    this.memory = after;
    const changed = next.start > 0 || next.stop.length > 0 || next.wake.length > 0;
    const { projection } = changed ? plan(this.wish, after, this.now) : next;
    this.projection = projection;
    return { before: heard, plan: next, projection };
  }

  /** The Temporal database is lost: a new workflow finds wish and replicas in the store and takes them over. */
  forget(): void {
    const rows = this.real.map((r) => ({ ...r, stopping: false, failure: null, blocked: false }));
    this.wish = {
      ...this.wish,
      liveReplicas: rows.map((r) => ({ ...newReplica(r.number, r.revision, this.now), readyAt: r.readyAt })),
      lastReplicaNumber: this.memory ? this.memory.nextNumber - 1 : this.wish.lastReplicaNumber,
      targetReplica: this.projection?.targetReplica ?? 0,
    };
    for (const r of this.real)
      Object.assign(r, { stage: 'pending', stopping: false, blocked: false, unreachable: false });
    this.#abandoned.clear();
    this.memory = null;
    this.#news = { woken: false, asked: null, views: [] };
  }

  /** The replica's next step on its way up: a place or the lack of one, weights, then readiness or failure. */
  advance(replica: ReplicaView): void {
    if (replica.stopping || !isStarting(replica.stage)) return;
    if (replica.stage === 'pending') {
      const taken = this.real.filter((r) => r !== replica && r.hostId !== null).length;
      if (replica.hostId === null && this.large.has(replica.revision))
        this.#tell(replica, { blocked: true, fitsNowhere: true, message: 'waiting for a host' });
      else if (replica.hostId === null && taken >= this.places)
        this.#tell(replica, { blocked: true, message: 'waiting for room' });
      else
        this.#tell(replica, {
          stage: 'downloading',
          hostId: 'h',
          blocked: false,
          fitsNowhere: false,
          stageSince: this.now,
        });
      return;
    }
    const cause = this.bad.get(replica.revision);
    if (cause) this.fail(replica, cause);
    else this.#tell(replica, { stage: 'running', readyAt: this.now, stageSince: this.now });
  }

  fail(replica: ReplicaView, code: ErrorCode): void {
    this.real = this.real.filter((r) => r !== replica);
    this.#tell(replica, { stage: 'failed', failure: { code, message: 'no' } });
  }

  /** Its host is lost: what serves goes on, and so does a drain; anything else is over. */
  lose(replica: ReplicaView): void {
    if (replica.stage === 'running') this.#tell(replica, { unreachable: true });
    else if (replica.stopping && replica.readyAt !== null) replica.unreachable = true;
    else this.fail(replica, 'HOST_LOST');
  }

  /** Its host is back, and its container runs. */
  find(replica: ReplicaView): void {
    if (!replica.unreachable) return;
    const stage = replica.stopping ? 'draining' : replica.stage;
    this.#tell(replica, { unreachable: false, stage });
  }

  /** A replica that was told to stop has drained and is gone, or its container rests, or waits for its host. */
  end(replica: ReplicaView): void {
    if (replica.resting && replica.stage !== 'standby') this.#tell(replica, { stage: 'standby' });
    if (!replica.stopping) return;
    if (replica.unreachable && !this.#abandoned.has(replica.number)) {
      if (replica.stage !== 'stopping') this.#tell(replica, { stage: 'stopping' });
      return;
    }
    this.real = this.real.filter((r) => r !== replica);
    this.#tell(replica, { stage: 'stopped' });
  }

  #tell(replica: ReplicaView, change: Partial<ReplicaView>): void {
    Object.assign(replica, change);
    // What the endpoint asked of it is the endpoint's to know.
    const { resting: _, ...view } = replica;
    this.#news.views.push({ ...view, stopping: false });
  }

  /** Open to requests. */
  get routed(): ReplicaView[] {
    return this.real.filter((r) => r.stage === 'running' && !r.stopping);
  }

  /** The same, on hosts that answer. */
  get serving(): ReplicaView[] {
    return this.routed.filter((r) => !r.unreachable);
  }

  /** Without those whose end waits for their host. */
  get present(): ReplicaView[] {
    return this.real.filter((r) => !(r.stopping && r.unreachable));
  }

  /** Lets everything that is under way come to its end, round by round; false when it does not settle. */
  settle(rounds = 100): boolean {
    for (let i = 0; i < rounds; i += 1) {
      const { plan: next } = this.round();
      const underWay = this.real.filter((r) => r.stage === 'draining' || (isStarting(r.stage) && !r.blocked));
      if (next.start === 0 && next.stop.length === 0 && underWay.length === 0 && next.wakeAt === null) {
        // What has been told that it fits nowhere, and would fit by now, is told so at its next step.
        const waiting = this.real.filter((r) => r.blocked && !this.large.has(r.revision));
        const taken = this.real.filter((r) => r.hostId !== null).length;
        if (waiting.length === 0 || taken >= this.places) return true;
      }
      for (const r of [...this.real]) this.end(r);
      for (const r of [...this.real]) this.advance(r);
      this.now = Math.max(this.now + 1000, next.wakeAt ?? 0);
    }
    return false;
  }
}
