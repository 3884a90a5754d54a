import type { ReplicaView } from '../../spec/lifecycle.ts';

/** A replica that has just been asked for. */
export function newReplica(number: number, revision: number, now: number): ReplicaView {
  return {
    number,
    revision,
    stage: 'pending',
    message: 'Endpoint waiting to be scheduled',
    hostId: null,
    stageSince: now,
    readyAt: null,
    failure: null,
    blocked: false,
    stopping: false,
  };
}
