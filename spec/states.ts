/** The states of an endpoint on the wire, in the public API's own words. */
export const ENDPOINT_STATES = [
  'pending',
  'initializing',
  'running',
  'updating',
  'updateFailed',
  'failed',
  'paused',
  'scaledToZero',
] as const;
export type EndpointState = (typeof ENDPOINT_STATES)[number];

/** What the owner wants; stored with the endpoint and changed only by writes to the API. */
export const DESIRED_PHASES = ['running', 'paused', 'deleted'] as const;
export type DesiredPhase = (typeof DESIRED_PHASES)[number];

/**
 * The stages of one replica, in the order they are passed; `standby` leads back to `initializing` and `running`. `failed`
 * and `stopped` are final: the replica's container is gone and its place is free again.
 */
export const REPLICA_STAGES = [
  'pending',
  'downloading',
  'pulling',
  'initializing',
  'running',
  'standby',
  'draining',
  'stopping',
  'stopped',
  'failed',
] as const;
export type ReplicaStage = (typeof REPLICA_STAGES)[number];

export function isFinal(stage: ReplicaStage): boolean {
  return stage === 'stopped' || stage === 'failed';
}

/** Stages in which a replica is on its way to `running` and may still get there. */
export function isStarting(stage: ReplicaStage): boolean {
  return stage === 'pending' || stage === 'downloading' || stage === 'pulling' || stage === 'initializing';
}

/** `public` needs no token, `authenticated` any valid one, `private` one of the owning namespace. */
export const ENDPOINT_TYPES = ['public', 'authenticated', 'private'] as const;
export type EndpointType = (typeof ENDPOINT_TYPES)[number];

/**
 * What is kept of an endpoint at zero: nothing, its container without a process, or its container paused with all its
 * memory.
 */
export const STANDBY_MODES = ['none', 'stopped', 'frozen'] as const;
export type StandbyMode = (typeof STANDBY_MODES)[number];
/** How a container is kept. */
export type Standby = Exclude<StandbyMode, 'none'>;
