import type { Failure } from '../spec/errors.ts';
import type {
  BakeSettings,
  Desired,
  NoPlace,
  Projection,
  ReplicaPlan,
  WeightsPlan,
} from '../spec/lifecycle.ts';
import type { ReplicaStage, Standby } from '../spec/states.ts';

/**
 * The activities by the queue that runs them. Workflows import these types only. Every one is idempotent: it may run
 * twice, also at the same time, and the second finds what the first did. A user-visible failure is thrown as an
 * `ApplicationFailure` whose `type` is an `ErrorCode` and whose first detail is the `Failure`.
 */

export interface ReplicaRef {
  replicaId: string;
  endpointId: string;
}

/** On the control queue: the store, the Hub's metadata, nothing that needs a particular host. */
export interface ControlActivities {
  /** Null when no such endpoint is stored (any more). */
  loadDesired(input: { namespace: string; name: string }): Promise<Desired | null>;
  publishProjection(input: { endpointId: string; projection: Projection }): Promise<void>;
  /** Resolves the model to a commit and its files, once per revision. Throws HUB_*, NO_USABLE_FILE. */
  pinRevision(input: { endpointId: string; revision: number }): Promise<{ commit: string | null }>;
  /** Pins a revision to the exact image its first replica has; answers what is pinned, the first one's. */
  pinImage(input: { endpointId: string; revision: number; image: string }): Promise<{ image: string }>;
  /** The last step of a deletion: the row goes, the audit log stays. */
  removeEndpoint(input: { endpointId: string }): Promise<void>;

  beginReplica(input: ReplicaRef & { number: number; revision: number }): Promise<void>;
  reportReplica(input: {
    replicaId: string;
    stage: ReplicaStage;
    message: string;
    failure?: Failure | null;
  }): Promise<void>;
  /** Finds a host with room and takes the place; says why not when there is none. */
  reservePlace(input: ReplicaRef): Promise<{ hostId: string } | NoPlace>;
  /** The same, but waits until there is room, or until it is otherwise than told whether there could ever be. Heartbeats. */
  awaitPlace(input: ReplicaRef & { nowhere?: boolean }): Promise<{ hostId: string } | NoPlace>;
  /** The place of a replica that rested, on its host; null when there is no room any more. */
  retakePlace(input: ReplicaRef): Promise<{ hostId: string; gpus: number[] } | null>;
  planReplica(
    input: ReplicaRef & { number: number; hostId: string; workflowId: string },
  ): Promise<ReplicaPlan>;
  /** Row, place and plan in one step; no plan while there is no room. */
  prepareReplica(
    input: ReplicaRef & { number: number; revision: number; workflowId: string },
  ): Promise<{ hostId: string; plan: ReplicaPlan } | NoPlace>;
  routeIn(input: ReplicaRef & { address: string }): Promise<void>;
  /** The same in one step with the replica's stage, `running`. */
  openReplica(input: ReplicaRef & { address: string; message: string }): Promise<void>;
  /** No new requests from here on; returns the version a gateway must have seen for that to be true. */
  routeOut(input: ReplicaRef): Promise<{ version: number }>;
  /** Takes `routeOut` back. */
  routeBack(input: ReplicaRef): Promise<void>;
  /** The replica rests: its route is gone, and of its place it keeps what its container holds. */
  restReplica(input: ReplicaRef & { standby: Standby; message: string }): Promise<void>;
  /** Waits until no gateway has a request in flight on the replica, or until the deadline. Heartbeats. */
  drain(input: ReplicaRef & { version: number }): Promise<{ drained: boolean; inFlight: number }>;
  /** Gives the place back and closes the replica's row. */
  releaseReplica(input: ReplicaRef & { stage: 'stopped' | 'failed'; failure: Failure | null }): Promise<void>;

  /**
   * Watches how replicas of a new revision answer beside those of others, since `sinceMs` (epoch). Returns why it should be
   * rolled back, or null when it is good. Heartbeats.
   */
  watchBake(input: {
    endpointId: string;
    revision: number;
    bake: BakeSettings;
    sinceMs: number;
  }): Promise<Failure | null>;

  /** Runs for ever: reads the load once a second and signals the endpoints whose replica count should change. */
  autoscale(): Promise<void>;

  /** Answers how long the agent may be silent before the host counts as lost. */
  setHostState(input: { hostId: string; state: 'ready' | 'lost' }): Promise<{ lostAfterMs: number }>;
  /** Workflow ids of the replicas the store places on this host. */
  replicasOnHost(input: { hostId: string }): Promise<string[]>;

  /** Carries a rule of scheduled scaling out for the moment it was due (ISO 8601); null when it changed nothing. */
  fireSchedule(input: {
    endpointId: string;
    schedule: string;
    at: string;
  }): Promise<{ namespace: string; name: string; wake: boolean } | null>;
  /** Makes Temporal's schedules what the stored rules say. */
  repairSchedules(): Promise<{ put: number; removed: number }>;

  /** Hosts whose agents answer. */
  listHosts(): Promise<string[]>;
  /** Of these containers, the ones no live replica owns. */
  findOrphans(input: { hostId: string; containers: OwnContainer[] }): Promise<string[]>;
  /** Removes what replicas that are over still hold: allocations and routes. */
  sweepStore(): Promise<{ removed: number }>;
}

/** On the queue of one host, run by its agent. */
export interface HostActivities {
  /** Fetches what is missing of the revision's files and verifies them. Heartbeats `{ doneBytes, totalBytes }`. */
  downloadWeights(input: {
    replicaId: string;
    weights: WeightsPlan;
    sealed: string;
  }): Promise<{ downloadedBytes: number }>;
  /**
   * Pulls the image unless the engine has it: the one its revision is `pinned` to, if any. `image` is the exact one that
   * is there now; agents before 0.2 do not say it. Heartbeats.
   */
  pullImage(input: {
    replicaId: string;
    image: string;
    pinned?: string | null;
    /** How many GPUs the container will be given. */
    gpus?: number;
    sealed: string;
  }): Promise<{ pulled: boolean; image?: string }>;
  /** Creates and starts the container, or finds it running. `calledAt`: when Docker was first asked (ms, epoch). */
  startContainer(input: ReplicaPlan): Promise<{ containerId: string; address: string; calledAt: number }>;
  /**
   * Both of the following in one step, where the image is pinned and on this host, and the weights too; no address: they
   * are not. Heartbeats.
   */
  startReady(
    input: ReplicaPlan,
  ): Promise<{ address: string; calledAt: number; readyAt: number } | { address: null }>;
  /** Returns when the replica has answered its health route and a real inference, at `readyAt` (ms, epoch). Heartbeats. */
  waitReady(input: ReplicaPlan): Promise<{ address: string; readyAt: number }>;
  /** Stop signal, grace, removal; absent is success. */
  stopContainer(input: {
    replicaId: string;
    containerName: string;
    graceMs: number;
  }): Promise<{ exitCode: number | null }>;
  /** Stops or freezes a container that serves nobody, and keeps it; false when there is none that could be kept. */
  restContainer(input: {
    replicaId: string;
    containerName: string;
    graceMs: number;
    standby: Standby;
  }): Promise<{ rested: boolean }>;
  /**
   * Lets a kept container go on. Frozen, it has answered its health route at `readyAt`; stopped, a real inference too.
   * No address: it cannot be used any more, for the reason given.
   */
  resumeContainer(input: {
    replicaId: string;
    containerName: string;
    gpus: number[];
  }): Promise<{ address: string; calledAt: number; readyAt: number } | { address: null; reason: string }>;
  /**
   * Runs for as long as the agent does: follows Docker's events and probes every replica of this host, and signals
   * `containerLost` to the replica's workflow. Its heartbeats are the sign that the host is alive.
   */
  watchHost(input: { hostId: string }): Promise<void>;
  /** The end of a replica's log, secrets taken out; null when it has none or is not there. */
  tailLog(input: { replicaId: string }): Promise<string | null>;
  /** Containers of this installation on this host, running or not. */
  listContainers(): Promise<OwnContainer[]>;
  removeContainers(input: { names: string[] }): Promise<void>;
}

export interface OwnContainer {
  name: string;
  replicaId: string;
  createdAtMs: number;
  /** Agents before 0.3 do not say it. */
  running?: boolean;
}
