import {
  allHandlersFinished,
  condition,
  continueAsNew,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { Desired, Projection, ReplicaView, StopReason } from '../spec/lifecycle.ts';
import { isFinal, type Standby } from '../spec/states.ts';
import { setAttributes } from './attributes.ts';
import { type EndpointInput, endpointView, replicaChanged, scaleTo, specChanged, wake } from './messages.ts';
import { store } from './options.ts';
import { countFailure, type FailureStreak } from './policy/failures.ts';
import { type Plan, plan } from './policy/plan.ts';
import { newReplica } from './policy/view.ts';
import { resumeReplica, startReplica, stopReplica } from './replicas.ts';
import { endpointDetails, stateLine } from './words.ts';

/** What an endpoint remembers from one run to the next; plain JSON. */
export interface EndpointMemory {
  v: 1;
  endpointId: string;
  phase: Desired['phase'];
  generation: number;
  /** The last forced scale to zero that was obeyed. */
  sleepGeneration: number;
  target: number;
  nextNumber: number;
  replicas: ReplicaView[];
  streak: FailureStreak | null;
  published: Projection | null;
}

/**
 * One endpoint for its whole life: load what the owner wants, plan, act, publish, wait for news. Signals only say that
 * there is news; the wish itself is always read from the store.
 */
export async function endpoint(input: EndpointInput, memory?: EndpointMemory): Promise<void> {
  await new Endpoint(input, memory ?? null).run();
}

class Endpoint {
  readonly #input: EndpointInput;
  #memory: EndpointMemory | null;
  /** The stored wish has to be read again. */
  #specDirty: boolean;
  /** There is something to reconcile. */
  #dirty = true;
  /** News that handlers noted and the next round takes in. */
  #woken = false;
  #asked: number | null = null;
  #views: ReplicaView[] = [];
  /** Replicas found in the store by a workflow without memory, still to be taken over. */
  #foundlings: ReplicaView[] = [];

  constructor(input: EndpointInput, memory: EndpointMemory | null) {
    this.#input = input;
    this.#memory = memory;
    this.#specDirty = memory === null;
    const note = (take: () => void) => {
      take();
      this.#dirty = true;
    };
    setHandler(specChanged, () => note(() => (this.#specDirty = true)), {
      description: 'The stored spec has a new generation',
    });
    setHandler(wake, () => note(() => (this.#woken = true)), {
      description: 'A request waits while the endpoint is at zero',
    });
    setHandler(scaleTo, ({ replicas }) => note(() => (this.#asked = replicas)), {
      description: 'The load asks for so many replicas',
    });
    setHandler(replicaChanged, (view) => note(() => this.#views.push(view)), {
      description: 'A replica reached another stage',
    });
    setHandler(endpointView, () => this.#memory);
  }

  async run(): Promise<void> {
    let desired: Desired | null = null;
    for (;;) {
      if (this.#specDirty || desired === null) {
        this.#specDirty = false;
        desired = await store.loadDesired.executeWithOptions({ summary: 'what its owner wants' }, [
          this.#input,
        ]);
        if (desired === null) {
          if (this.#specDirty) continue;
          return;
        }
        this.#adopt(desired);
      }
      this.#dirty = false;
      const wakeAt = await this.#reconcile(desired);
      if (desired.phase === 'deleted' && this.#require().replicas.length === 0) {
        await store.removeEndpoint({ endpointId: desired.endpointId });
        // The name may have been taken again meanwhile: look once more before ending.
        this.#memory = null;
        desired = null;
        continue;
      }
      await this.#wait(wakeAt);
    }
  }

  #require(): EndpointMemory {
    if (!this.#memory) throw new Error('no endpoint loaded');
    return this.#memory;
  }

  /** Takes a freshly read wish in: first sight, a new generation, or nothing new. */
  #adopt(desired: Desired): void {
    const { minReplica, maxReplica } = desired;
    const awake = Math.max(1, minReplica);
    const known = this.#memory?.endpointId === desired.endpointId ? this.#memory : null;
    if (!known) {
      // Without memory (first run, or Temporal's database was lost) the store's projection is where to go on from.
      const fresh = desired.lastReplicaNumber === 0 && desired.sleepGeneration === 0;
      this.#memory = {
        v: 1,
        endpointId: desired.endpointId,
        phase: desired.phase,
        generation: desired.generation,
        sleepGeneration: desired.sleepGeneration,
        target: fresh ? awake : desired.targetReplica,
        nextNumber: desired.lastReplicaNumber + 1,
        replicas: desired.liveReplicas,
        streak: null,
        published: null,
      };
      this.#foundlings = [...desired.liveReplicas];
      setAttributes({
        EndpointNamespace: this.#input.namespace,
        EndpointName: this.#input.name,
        EndpointEngine: desired.engine,
        EndpointModel: desired.model,
      });
      return;
    }
    if (known.phase === 'paused' && desired.phase === 'running') known.target = awake;
    if (desired.sleepGeneration > known.sleepGeneration) known.target = 0;
    else if (known.target > 0)
      known.target = Math.min(Math.max(known.target, minReplica), Math.max(maxReplica, 1));
    if (desired.generation !== known.generation) known.streak = null;
    known.phase = desired.phase;
    known.generation = desired.generation;
    known.sleepGeneration = desired.sleepGeneration;
  }

  /** One round; returns when to look again at the latest. */
  async #reconcile(desired: Desired): Promise<number | null> {
    const memory = this.#require();
    for (const found of this.#foundlings.splice(0)) {
      // Its workflow starts from the first step and finds container and route as they are; one that still lives reports.
      const anew = await startReplica(this.#input, desired, found.number, found.revision);
      if (anew) Object.assign(found, newReplica(found.number, found.revision, Date.now()));
    }
    this.#absorb(desired);
    this.#retarget(desired);
    const next = this.#plan(desired);
    for (const { number, reason, standby } of next.stop) await this.#stop(number, reason, standby);
    for (const number of next.wake) await this.#resume(number);
    for (let i = 0; i < next.start; i += 1) {
      const number = memory.nextNumber;
      memory.nextNumber += 1;
      memory.replicas.push(newReplica(number, desired.revision, Date.now()));
      await startReplica(this.#input, desired, number, desired.revision);
    }
    // What a start or a stop just changed shows in the words of another look.
    const acted = next.start > 0 || next.stop.length > 0 || next.wake.length > 0;
    const { projection, wakeAt } = acted ? this.#plan(desired) : next;
    await this.#publish(desired, projection);
    return wakeAt;
  }

  #plan(desired: Desired): Plan {
    const { replicas, target, streak } = this.#require();
    return plan(desired, { replicas, target, streak }, Date.now());
  }

  /** Takes in what gateway and autoscaler asked for. From zero only a request wakes, not a figure from before. */
  #retarget(desired: Desired): void {
    const memory = this.#require();
    const asked = this.#asked;
    if (asked !== null && memory.target > 0) {
      memory.target = Math.min(Math.max(asked, desired.minReplica), desired.maxReplica);
    }
    if (this.#woken && memory.target === 0 && desired.phase === 'running') {
      memory.target = Math.max(1, desired.minReplica);
    }
    this.#asked = null;
    this.#woken = false;
  }

  /** Applies what replicas reported since the last round. */
  #absorb(desired: Desired): void {
    const memory = this.#require();
    for (const view of this.#views.splice(0)) {
      const known = memory.replicas.find((r) => r.number === view.number);
      if (!known) continue;
      // It reached its rest after it had been asked to wake: it will say how that goes.
      if (view.stage === 'standby' && !known.resting) continue;
      Object.assign(known, view, { stopping: known.stopping });
      if (view.stage === 'running' && memory.streak?.revision === view.revision && !memory.streak.exhausted) {
        memory.streak = { ...memory.streak, nextStartAt: 0 };
      }
      if (!isFinal(view.stage)) continue;
      memory.replicas = memory.replicas.filter((r) => r.number !== view.number);
      if (view.failure && !known.stopping && view.revision === desired.revision) {
        memory.streak = countFailure(memory.streak, view, view.failure, desired.limits, Date.now());
      }
    }
  }

  /** With `standby` its container is kept, and it may be asked to wake. */
  async #stop(number: number, reason: StopReason, standby?: Standby): Promise<void> {
    const known = this.#require().replicas.find((r) => r.number === number);
    if (known) Object.assign(known, standby ? { resting: standby } : { stopping: true });
    if (!(await stopReplica(this.#input, number, reason, standby))) this.#forget(number);
  }

  async #resume(number: number): Promise<void> {
    const known = this.#require().replicas.find((r) => r.number === number);
    const waking = { resting: undefined, stage: 'initializing', message: 'waking', stageSince: Date.now() };
    if (known) Object.assign(known, waking);
    if (!(await resumeReplica(this.#input, number))) this.#forget(number);
  }

  /** Its workflow ended without being able to say so. */
  #forget(number: number): void {
    const memory = this.#require();
    memory.replicas = memory.replicas.filter((r) => r.number !== number);
    this.#dirty = true;
  }

  async #publish(desired: Desired, projection: Projection): Promise<void> {
    const memory = this.#require();
    if (JSON.stringify(projection) === JSON.stringify(memory.published)) return;
    if (projection.state !== memory.published?.state) setAttributes({ EndpointState: projection.state });
    setCurrentDetails(endpointDetails(projection, desired, memory.replicas));
    memory.published = projection;
    await store.publishProjection.executeWithOptions({ summary: stateLine(projection) }, [
      { endpointId: desired.endpointId, projection },
    ]);
  }

  /** Sleeps until there is news or `wakeAt`; rolls over at an instant when nothing is pending. */
  async #wait(wakeAt: number | null): Promise<void> {
    const mayRollOver = () => workflowInfo().continueAsNewSuggested && !this.#dirty && allHandlersFinished();
    const ready = () => this.#dirty || mayRollOver();
    if (wakeAt === null) await condition(ready);
    else await condition(ready, Math.max(1, wakeAt - Date.now()), { summary: 'next look' });
    if (mayRollOver()) await continueAsNew<typeof endpoint>(this.#input, this.#require());
  }
}
