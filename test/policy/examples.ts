import type { Desired, ReplicaView } from '../../spec/lifecycle.ts';
import type { ReplicaStage } from '../../spec/states.ts';

/** An endpoint and its replicas as the policy sees them, for tests to vary. */

export const NOW = 1_800_000_000_000;
export const LIMITS = { maxStartFailures: 3, retryBaseMs: 2000, retryMaxMs: 60_000 };

export function desired(over: Partial<Desired> = {}): Desired {
  return {
    endpointId: '00000000-0000-4000-8000-000000000000',
    phase: 'running',
    generation: 1,
    revision: 1,
    sleepGeneration: 0,
    minReplica: 1,
    maxReplica: 1,
    engine: 'llamacpp',
    model: 'owner/model',
    pinned: true,
    limits: LIMITS,
    targetReplica: 0,
    lastReplicaNumber: 0,
    liveReplicas: [],
    ...over,
  };
}

export function view(number: number, stage: ReplicaStage, over: Partial<ReplicaView> = {}): ReplicaView {
  return {
    number,
    revision: 1,
    stage,
    message: '',
    hostId: 'h',
    stageSince: NOW,
    readyAt: stage === 'running' ? NOW : null,
    failure: null,
    blocked: false,
    stopping: false,
    ...over,
  };
}
