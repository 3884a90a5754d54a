import type { EndpointSpec } from '../spec/endpoint.ts';
import type { LockedEndpoint, ProjectionEdge } from './endpoint-writes.ts';

/** What readers see of a write from the moment it is stored, before the endpoint's workflow has looked at it. */

/** How many replicas an endpoint that is to run starts with, also where it may sleep later. */
export function firstTarget(spec: EndpointSpec): number {
  return Math.max(1, spec.compute.scaling.minReplica);
}

export function startedEdge(spec: EndpointSpec): ProjectionEdge {
  return {
    state: 'pending',
    message: 'Endpoint waiting to be scheduled',
    readyReplica: 0,
    targetReplica: firstTarget(spec),
  };
}

/**
 * Of an update from `current` to `spec`; null where nothing shows at once. A sleeping endpoint is woken by what can only be
 * seen awake: a new version, or a higher minimum.
 */
export function updateEdge(
  current: LockedEndpoint,
  spec: EndpointSpec,
  newContainers: boolean,
): ProjectionEdge | null {
  if (current.phase !== 'running') return null;
  if (current.state === 'failed') return startedEdge(spec);
  const raised = spec.compute.scaling.minReplica > current.wish.spec.compute.scaling.minReplica;
  if (current.state === 'scaledToZero' && (newContainers || raised)) return startedEdge(spec);
  if (current.state === 'updateFailed' || (current.state === 'running' && newContainers))
    return { state: 'updating', message: 'Endpoint waiting for the update' };
  return null;
}
