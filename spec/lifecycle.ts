import type { GpuDriver } from './driver.ts';
import type { Failure } from './errors.ts';
import type { DesiredPhase, EndpointState, ReplicaStage, Standby } from './states.ts';

/**
 * What passes between the store, the workflows and the activities: plain JSON, ids and states, never a secret.
 */

/** The part of a stored endpoint that its workflow decides by. */
export interface Desired {
  endpointId: string;
  phase: DesiredPhase;
  /** Counts every write. */
  generation: number;
  /** Counts the writes that need new containers; a replica belongs to exactly one revision. */
  revision: number;
  /** The generation of the last forced scale to zero; 0 when there was none. */
  sleepGeneration: number;
  minReplica: number;
  maxReplica: number;
  /** How one container is kept while the endpoint is at zero; absent: none is. */
  standby?: Standby;
  engine: string;
  model: string;
  /** The revision's model is already resolved to a commit and its files. */
  pinned: boolean;
  limits: StartLimits;
  /** How a new revision is watched before it replaces the old one; null or absent: not at all. */
  bake?: BakeSettings | null;
  /** The projection's `targetReplica` as last written: what a workflow without memory starts from. */
  targetReplica: number;
  /** Highest replica number ever given to this endpoint (0 when none), so that a fresh workflow goes on counting. */
  lastReplicaNumber: number;
  /** Replicas the store counts as alive: what a workflow without memory has to adopt or clear away. */
  liveReplicas: ReplicaView[];
}

/** How often and how fast a replica that failed is started again; from `platform.yaml`. */
export interface StartLimits {
  /** Failed starts in a row before the endpoint is `failed`. */
  maxStartFailures: number;
  /** Delay before the next start, doubled with each failure in a row. */
  retryBaseMs: number;
  retryMaxMs: number;
}

/** How long the first replica of a new revision is watched, and what is too bad; from `platform.yaml` or the endpoint. */
export interface BakeSettings {
  seconds: number;
  /** So many answers are enough, however soon they came. */
  requests: number;
  /** Share of its answers that may be errors. */
  maxErrorPercent: number;
}

/** A replica as its endpoint sees it. */
export interface ReplicaView {
  number: number;
  revision: number;
  stage: ReplicaStage;
  message: string;
  hostId: string | null;
  /** Milliseconds since the epoch. */
  stageSince: number;
  /** When it first answered a real inference; null before. */
  readyAt: number | null;
  failure: Failure | null;
  /** Waits for a place: no host has room for it now. */
  blocked: boolean;
  /** No host there is could hold it, even if nothing else ran there. */
  fitsNowhere?: boolean;
  /** Set once the endpoint has asked it to stop. */
  stopping: boolean;
  /** Set from when the endpoint has asked it to rest, in this way, until it asks it to wake. */
  resting?: Standby | undefined;
  /** An old replica was given up so that this one finds room. Noted by the endpoint, never reported. */
  granted?: boolean;
  /** Its host does not answer the control plane; gateways may reach it all the same, so it keeps its route. */
  unreachable?: boolean;
}

/** No host has room for a replica; `nowhere`: nor would one if nothing else ran there. */
export interface NoPlace {
  hostId: null;
  message: string;
  nowhere?: boolean;
}

/** How one replica answered one gateway, counted since that gateway first saw it. */
export interface Answers {
  /** Attempts that ended with an answer or without one; those a client left are not counted. */
  answers: number;
  /** Of these, the engine's fault: a 5xx other than 501, no connection, a connection that broke off. */
  errors: number;
  /** Put last for its errors, and no good answer since. */
  failing: boolean;
}

/** What the endpoint's row shows to readers; written whenever it changes. */
export interface Projection {
  state: EndpointState;
  message: string;
  errorMessage: string | null;
  readyReplica: number;
  targetReplica: number;
  /** The generation this is the result of looking at. */
  observedGeneration: number;
}

/**
 * Why a replica stops. Shown in the Temporal UI. Of one at rest: another replica needs its memory, there is no room for it
 * to wake on its host, or its container is not what was kept. `rolledBack`: its revision was given up. `replaced`: others
 * serve in its stead since its host does not answer.
 */
export type StopReason =
  | 'paused'
  | 'scaledToZero'
  | 'scaledDown'
  | 'deleted'
  | 'superseded'
  | 'memoryNeeded'
  | 'noRoomToWake'
  | 'lostAtRest'
  | 'rolledBack'
  | 'replaced';

/** One file of a repository, as resolved and pinned for a revision. */
export interface WeightFile {
  path: string;
  sizeBytes: number;
  /** SHA-256 of an LFS file, or null for a small file that git keeps itself (then `gitSha1` is checked). */
  sha256: string | null;
  gitSha1: string | null;
}

/** The files of one commit that a replica needs. */
export interface WeightsPlan {
  repository: string;
  /** Full commit hash. */
  commit: string;
  files: WeightFile[];
}

/**
 * What a host needs to run one replica; everything but the secrets, which travel as `sealed`, a JWE only that host
 * can open.
 */
export interface ReplicaPlan {
  replicaId: string;
  endpointId: string;
  workflowId: string;
  revision: number;
  containerName: string;
  weights: WeightsPlan | null;
  container: ContainerDescription;
  /** The exact image its revision is pinned to; null for the first replica, which pins it. Plans before 0.2 have none. */
  pinnedImage?: string | null;
  sealed: string;
  readiness: ReadinessPlan;
}

/** What the JWE holds. */
export interface SealedSecrets {
  env: Record<string, string>;
  registry: { username: string; password: string } | null;
  /** Hub token for gated and private repositories. */
  hubToken: string | null;
  /** The key the engine of this one replica asks for. */
  engineKey: string;
}

/** A container, engine-neutral: what `engines/` says and `activities/containers/` turns into a Docker call. */
export interface ContainerDescription {
  image: string;
  /** Replaces the image's entrypoint when not empty. */
  entrypoint: string[];
  args: string[];
  env: Record<string, string>;
  /** Port inside the container. */
  port: number;
  cpus: number;
  memoryBytes: number;
  shmBytes: number;
  pidsLimit: number;
  /** Limits of a process other than Docker's; -1 is none. */
  ulimits?: { name: string; soft: number; hard: number }[];
  /** Device indexes of the GPUs this replica may use. */
  gpus: number[];
  stopSignal: string;
  /** How long the engine may take to end after the stop signal before it is killed. */
  stopGraceMs: number;
}

export interface HttpProbe {
  method: 'GET' | 'POST';
  path: string;
  body?: unknown;
  timeoutMs: number;
}

/** When a container counts as ready: the health route answers 200 and, where the engine has one, a real inference. */
export interface ReadinessPlan {
  engine: string;
  health: HttpProbe | null;
  inference: HttpProbe | null;
  /** Given up after this long in `initializing`. */
  deadlineMs: number;
}

/** One GPU, as its host's driver names it. */
export interface HostGpu {
  /** By which replicas are given it. */
  index: number;
  model: string;
  memoryBytes: number;
  uuid?: string | undefined;
  /** Cut into slices (MIG): no replica can have it as a whole, so none is given it. */
  mig?: boolean | undefined;
}

/** What a machine has, as its agent reports it. */
export interface HostInventory {
  cpus: number;
  memoryBytes: number;
  diskFreeBytes: number;
  gpus: HostGpu[];
  /** Null or absent on a host without NVIDIA driver. */
  gpuDriver?: GpuDriver | null | undefined;
  dockerVersion: string;
  os: string;
}
