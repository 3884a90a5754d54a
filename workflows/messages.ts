import { defineQuery, defineSignal } from '@temporalio/workflow';
import type { Failure } from '../spec/errors.ts';
import type { ReplicaView, StopReason } from '../spec/lifecycle.ts';
import type { Standby } from '../spec/states.ts';

/**
 * What can be said to a workflow, and by whom. Signals carry facts and edges; the state they point at is in the store,
 * so a repeated or a lost one does no harm. Importable by every process: it pulls in no workflow code.
 */

export const WORKFLOWS = {
  endpoint: 'endpoint',
  replica: 'replica',
  host: 'host',
  janitor: 'janitor',
  autoscaler: 'autoscaler',
  scalingRule: 'scalingRule',
} as const;

// --- to an endpoint
export interface EndpointInput {
  namespace: string;
  name: string;
}
/** API: the stored spec has a new generation. */
export const specChanged = defineSignal('specChanged');
/** Gateway: a request came for an endpoint at zero. One per sleeping endpoint is enough. */
export const wake = defineSignal('wake');
/** Autoscaler: how many replicas the load asks for; clamped to the endpoint's bounds. */
export const scaleTo = defineSignal<[{ replicas: number; reason: string }]>('scaleTo');
/** Replica: where I am now. */
export const replicaChanged = defineSignal<[ReplicaView]>('replicaChanged');
export const endpointView = defineQuery<unknown>('view');

// --- to a replica
/** Endpoint: drain and stop; with `standby`, keep the container that way; with `failure`, for that cause. Placement: give your memory back if you rest. */
export const stopReplica =
  defineSignal<[{ reason: StopReason; standby?: Standby; failure?: Failure }]>('stop');
/** Endpoint: a request waits; serve again, from rest or on the way to it. */
export const resumeReplica = defineSignal('resume');
/** Agent: the container is not running any more, or no longer answers. */
export const containerLost = defineSignal<[Failure]>('containerLost');
/** Host: the machine does not answer. What serves there may be reached by gateways all the same. */
export const hostLost = defineSignal<[Failure]>('hostLost');
/** Host: the machine answers again. */
export const hostFound = defineSignal('hostFound');
export const replicaView = defineQuery<ReplicaView>('view');

// --- to a host
export interface HostInput {
  hostId: string;
}
/** API: an agent (again) joined under this id. */
export const agentJoined = defineSignal('agentJoined');
