import {
  allHandlersFinished,
  condition,
  continueAsNew,
  patched,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { Desired, Projection, ReplicaView } from '../spec/lifecycle.ts';
import { setAttributes } from './attributes.ts';
import { type EndpointInput, endpointView, replicaChanged, scaleTo, specChanged, wake } from './messages.ts';
import { store } from './options.ts';
import { retriedOnce } from './policy/failures.ts';
import { adopt, carryOut, type EndpointMemory, hear } from './policy/memory.ts';
import { type Plan, plan } from './policy/plan.ts';
import { isOnTrial } from './policy/rollout.ts';
import { newReplica } from './policy/view.ts';
import { resumeReplica, startReplica, stopReplica } from './replicas.ts';
import { Trial } from './trial.ts';
import { endpointDetails, stateLine } from './words.ts';

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
  readonly #trial = new Trial(() => {
    this.#dirty = true;
  });
  /** Replicas found in the store by a workflow without memory, still to be taken over. */
  #foundlings: number[] = [];

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

  /** Takes a freshly read wish in. */
  #adopt(desired: Desired): void {
    const known = this.#memory;
    this.#memory = adopt(known, desired);
    if (known?.endpointId === desired.endpointId) return;
    this.#foundlings = desired.liveReplicas.map((r) => r.number);
    setAttributes({
      EndpointNamespace: this.#input.namespace,
      EndpointName: this.#input.name,
      EndpointEngine: desired.engine,
      EndpointModel: desired.model,
    });
  }

  /** One round; returns when to look again at the latest. */
  async #reconcile(desired: Desired): Promise<number | null> {
    for (const number of this.#foundlings.splice(0)) await this.#takeOver(desired, number);
    const verdict = this.#trial.take();
    const views = this.#views.splice(0);
    const retriesOnce =
      views.some(({ failure }) => failure && retriedOnce(failure)) && patched('retries-once');
    const slowCrashes = views.some(({ failure }) => failure) && patched('slow-crashes');
    const news = { woken: this.#woken, asked: this.#asked, views, verdict, retriesOnce, slowCrashes };
    this.#woken = false;
    this.#asked = null;
    const heard = hear(this.#require(), desired, news, Date.now());
    const next = this.#plan(desired, heard);
    this.#memory = carryOut(heard, next, Date.now());
    for (const { number, reason, ...how } of next.stop)
      if (!(await stopReplica(this.#input, number, reason, how))) this.#forget(number);
    for (const number of next.wake) if (!(await resumeReplica(this.#input, number))) this.#forget(number);
    for (let number = heard.nextNumber; number < this.#require().nextNumber; number += 1)
      await startReplica(this.#input, desired, { number, revision: next.revision });
    // What a start or a stop just changed shows in the words of another look.
    const acted = next.start > 0 || next.stop.length > 0 || next.wake.length > 0;
    const { projection, wakeAt } = acted ? this.#plan(desired, this.#require()) : next;
    await this.#publish(desired, projection);
    const { target, replicas } = this.#require();
    const awake = desired.phase === 'running' && target > 0;
    this.#trial.follow(desired, replicas, awake && isOnTrial(desired, this.#require()));
    return wakeAt;
  }

  #plan(desired: Desired, memory: EndpointMemory): Plan {
    // What happened before the version that goes back to an older revision is replayed without.
    const stable = patched('stable') ? (memory.stable ?? null) : undefined;
    const lossesEnd = memory.streak?.failure.code === 'HOST_LOST' && patched('losses-end');
    return plan(desired, { ...memory, stable, lossesEnd }, Date.now());
  }

  /** A replica found in the store: its workflow starts from the first step and finds container and route as they are. */
  async #takeOver(desired: Desired, number: number): Promise<void> {
    const found = this.#require().replicas.find((r) => r.number === number);
    if (!found) return;
    // One that was at rest goes on resting.
    const { resting: standby, hostId } = found;
    const rests = standby && hostId ? { resting: { hostId, standby } } : {};
    // One that still lives reports by itself.
    if (!(await startReplica(this.#input, desired, found, rests)) || rests.resting) return;
    Object.assign(found, newReplica(number, found.revision, Date.now()), { readyAt: found.readyAt });
  }

  /** Its workflow ended without being able to say so. */
  #forget(number: number): void {
    const memory = this.#require();
    this.#memory = { ...memory, replicas: memory.replicas.filter((r) => r.number !== number) };
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
    const mayRollOver = () =>
      workflowInfo().continueAsNewSuggested && !this.#dirty && !this.#trial.running && allHandlersFinished();
    const ready = () => this.#dirty || mayRollOver();
    if (wakeAt === null) await condition(ready);
    else await condition(ready, Math.max(1, wakeAt - Date.now()), { summary: 'next look' });
    if (mayRollOver()) await continueAsNew<typeof endpoint>(this.#input, this.#require());
  }
}
