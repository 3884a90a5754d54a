import { randomUUID } from 'node:crypto';
import { ApplicationFailure, Context, heartbeat } from '@temporalio/activity';
import type { ControlActivities, HostActivities } from '../../activities/interfaces.ts';
import type { ErrorCode, Failure } from '../../spec/errors.ts';
import type { Desired, Projection, ReplicaPlan } from '../../spec/lifecycle.ts';
import type { ReplicaStage, Standby } from '../../spec/states.ts';

/**
 * A world of one endpoint and one host, or two, small enough to break at will: it stands for the store and for Docker
 * where a test is about what the workflows do.
 */
export class World {
  readonly hostId = `h${randomUUID().slice(0, 8)}`;
  desired: Desired | null;
  projection: Projection | null = null;
  readonly published: Projection[] = [];
  readonly stages = new Map<string, ReplicaStage>();
  readonly containers = new Set<string>();
  readonly routes = new Set<string>();
  /** Of replicas, by id. */
  readonly revisions = new Map<string, number>();
  /** Containers at rest. */
  readonly resting = new Map<string, Standby>();
  /** While set, the host lacks weights or image. */
  bare = false;
  /** While set, no kept container can be used. */
  spoiled = false;
  /** While set, `drain` does not return. */
  slowDrain = false;
  readonly calls: string[] = [];
  /** The exact image by revision, as the store keeps it. */
  readonly pinned = new Map<number, string>();
  /** What the tag means to whoever pulls next; undefined stands for an agent that does not say. */
  tag: string | undefined = 'engine@sha256:1';
  /** Between the look at the tag and its answer. */
  atPull: () => Promise<void> | void = () => undefined;
  /** Images that containers were started from. */
  readonly started: string[] = [];
  /** The next so many starts fail with this. */
  failStarts: { code: ErrorCode; retryable: boolean; times: number } | null = null;
  /** What the next firing of a scaling rule has changed. */
  fired: { namespace: string; name: string; wake: boolean } | null = null;
  /** Places on the host. */
  room = 10;
  /** While set, no host is large enough for a replica that has no place yet. */
  tooLarge = false;
  /** While set, `waitReady` does not return. */
  slowReady = false;
  /** What comes of a trial: a failure, or null when all is well; undefined while it goes on. */
  verdict: Failure | null | undefined;
  /** Revisions that were put on trial. */
  readonly watched: number[] = [];
  hostState: 'ready' | 'lost' = 'ready';
  /** Where places are while the host is lost; undefined: then there are none. */
  spareHostId: string | undefined;
  /** What the store answers for the replicas of the lost host. */
  replicaWorkflows: string[] = [];

  constructor(desired: Partial<Desired> & { endpointId: string }) {
    this.desired = {
      phase: 'running',
      generation: 1,
      revision: 1,
      sleepGeneration: 0,
      minReplica: 1,
      maxReplica: 2,
      engine: 'llamacpp',
      model: 'owner/model',
      pinned: true,
      limits: { maxStartFailures: 3, retryBaseMs: 50, retryMaxMs: 200 },
      targetReplica: 0,
      lastReplicaNumber: 0,
      liveReplicas: [],
      ...desired,
    };
  }

  wish(change: Partial<Desired>): void {
    if (!this.desired) throw new Error('gone');
    this.desired = { ...this.desired, ...change, generation: this.desired.generation + 1 };
  }

  get alive(): string[] {
    return [...this.stages]
      .filter(([, stage]) => stage !== 'stopped' && stage !== 'failed')
      .map(([id]) => id);
  }

  control(): ControlActivities {
    const place = (replicaId: string) => {
      if (!this.alive.includes(replicaId)) this.stages.set(replicaId, 'pending');
      const placed = this.alive.filter((id) => this.#placed.has(id)).length;
      const own = this.#placed.get(replicaId);
      if (own) return { hostId: own };
      if (this.tooLarge)
        return { hostId: null, message: 'waiting for a host that is large enough', nowhere: true } as const;
      if (placed < this.room) {
        const hostId = this.hostState === 'lost' ? this.spareHostId : this.hostId;
        if (hostId) {
          this.#placed.set(replicaId, hostId);
          return { hostId };
        }
      }
      return { hostId: null, message: 'waiting for room' } as const;
    };
    return {
      loadDesired: async () => this.desired,
      publishProjection: async ({ projection }) => {
        this.projection = projection;
        this.published.push(projection);
      },
      pinRevision: async () => {
        this.calls.push('pin');
        return { commit: 'c' };
      },
      pinImage: async ({ revision, image }) => {
        const pinned = this.pinned.get(revision) ?? image;
        this.pinned.set(revision, pinned);
        return { image: pinned };
      },
      removeEndpoint: async () => {
        this.calls.push('remove');
        this.desired = null;
      },
      beginReplica: async ({ replicaId, revision }) => {
        this.stages.set(replicaId, 'pending');
        this.revisions.set(replicaId, revision);
      },
      reportReplica: async ({ replicaId, stage }) => void this.stages.set(replicaId, stage),
      reservePlace: async ({ replicaId }) => place(replicaId),
      awaitPlace: async ({ replicaId, nowhere = false }) => {
        for (;;) {
          const got = place(replicaId);
          if (got.hostId !== null || this.tooLarge !== nowhere) return got;
          heartbeat();
          await Context.current().sleep(50);
        }
      },
      planReplica: async ({ replicaId, endpointId, workflowId }) => ({
        ...planOf(replicaId, endpointId, workflowId),
        pinnedImage: this.pinned.get(1) ?? null,
      }),
      prepareReplica: async ({ replicaId, endpointId, workflowId, revision }) => {
        this.revisions.set(replicaId, revision);
        const at = place(replicaId);
        if (at.hostId === null) return at;
        const plan = planOf(replicaId, endpointId, workflowId);
        return { hostId: at.hostId, plan: { ...plan, pinnedImage: this.pinned.get(1) ?? null } };
      },
      routeIn: async ({ replicaId }) => void this.routes.add(replicaId),
      routeOut: async ({ replicaId }) => {
        this.routes.delete(replicaId);
        return { version: 1 };
      },
      drain: async () => {
        this.calls.push('drain');
        while (this.slowDrain) {
          heartbeat();
          await Context.current().sleep(20);
        }
        return { drained: true, inFlight: 0 };
      },
      openReplica: async ({ replicaId }) => {
        this.routes.add(replicaId);
        this.stages.set(replicaId, 'running');
      },
      routeBack: async ({ replicaId }) => void this.routes.add(replicaId),
      restReplica: async ({ replicaId, standby }) => {
        this.stages.set(replicaId, 'standby');
        if (standby === 'stopped') this.#placed.delete(replicaId);
      },
      retakePlace: async ({ replicaId }) => {
        const { hostId } = place(replicaId);
        return hostId === null ? null : { hostId, gpus: [] };
      },
      releaseReplica: async ({ replicaId, stage }) => {
        this.#placed.delete(replicaId);
        this.stages.set(replicaId, stage);
      },
      watchBake: async ({ revision }) => {
        this.watched.push(revision);
        for (;;) {
          if (this.verdict !== undefined) return this.verdict;
          heartbeat();
          await Context.current().sleep(50);
        }
      },
      autoscale: async () => {
        this.calls.push('autoscale');
        for (;;) {
          heartbeat();
          await Context.current().sleep(200);
        }
      },
      setHostState: async ({ state }) => {
        this.hostState = state;
        return { lostAfterMs: 4000 };
      },
      replicasOnHost: async () => this.replicaWorkflows,
      listHosts: async () => [this.hostId],
      findOrphans: async ({ containers }) => containers.map((c) => c.name),
      fireSchedule: async () => this.fired,
      repairSchedules: async () => ({ put: 0, removed: 0 }),
      sweepStore: async () => ({ removed: 0 }),
    };
  }
  readonly #placed = new Map<string, string>();

  host(): HostActivities {
    const startContainer = async (plan: ReplicaPlan) => {
      if (this.failStarts && this.failStarts.times > 0) {
        this.failStarts.times -= 1;
        const { code, retryable } = this.failStarts;
        throw ApplicationFailure.create({
          type: code,
          message: 'no',
          nonRetryable: true,
          details: [{ code, message: `no (${retryable})` }],
        });
      }
      this.started.push(plan.container.image);
      this.containers.add(plan.containerName);
      return { containerId: plan.containerName, address: 'http://127.0.0.1:1', calledAt: 0 };
    };
    const waitReady = async () => {
      while (this.slowReady) {
        heartbeat();
        await Context.current().sleep(20);
      }
      return { address: 'http://127.0.0.1:1', readyAt: 0 };
    };
    return {
      downloadWeights: async () => ({ downloadedBytes: 0 }),
      pullImage: async ({ pinned }) => {
        const image = pinned ?? this.tag;
        if (!pinned) await this.atPull();
        return { pulled: false, ...(image ? { image } : {}) };
      },
      startContainer,
      waitReady,
      startReady: async (plan) => {
        if (!plan.pinnedImage || this.bare) return { address: null };
        await startContainer({ ...plan, container: { ...plan.container, image: plan.pinnedImage } });
        return { ...(await waitReady()), calledAt: 0 };
      },
      restContainer: async ({ containerName, standby }) => {
        if (!this.containers.has(containerName)) return { rested: false };
        this.resting.set(containerName, standby);
        return { rested: true };
      },
      resumeContainer: async ({ containerName }) => {
        this.calls.push(`resume ${containerName}`);
        if (this.spoiled || !this.resting.delete(containerName)) return { address: null, reason: 'gone' };
        return { address: 'http://127.0.0.1:1', calledAt: 0, readyAt: 0 };
      },
      stopContainer: async ({ containerName }) => {
        this.calls.push(`stop ${containerName}`);
        this.resting.delete(containerName);
        this.containers.delete(containerName);
        return { exitCode: 0 };
      },
      watchHost: async () => {
        for (;;) {
          heartbeat();
          await Context.current().sleep(200);
        }
      },
      tailLog: async ({ replicaId }) => `log of ${replicaId}`,
      listContainers: async () =>
        [...this.containers].map((name) => ({ name, replicaId: name, createdAtMs: 0, running: true })),
      removeContainers: async ({ names }) => {
        for (const name of names) this.containers.delete(name);
      },
    };
  }
}

function planOf(replicaId: string, endpointId: string, workflowId: string): ReplicaPlan {
  return {
    replicaId,
    endpointId,
    workflowId,
    revision: 1,
    containerName: `ep-${replicaId}`,
    weights: { repository: 'owner/model', commit: 'c0ffee00', files: [] },
    container: {
      image: 'engine:1',
      entrypoint: [],
      args: [],
      env: {},
      port: 8080,
      cpus: 1,
      memoryBytes: 1,
      shmBytes: 1,
      pidsLimit: 1,
      gpus: [],
      stopSignal: 'SIGTERM',
      stopGraceMs: 1000,
    },
    sealed: 'sealed',
    readiness: { engine: 'llamacpp', health: null, inference: null, deadlineMs: 1000 },
  };
}
