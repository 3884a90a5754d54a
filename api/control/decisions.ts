import { changesOf, needsNewContainers } from '../../spec/changes.ts';
import { EndpointsError } from '../../spec/errors.ts';
import type { WeightsPlan } from '../../spec/lifecycle.ts';
import type { OwnersWish } from '../../spec/normalize.ts';
import { startedEdge, updateEdge } from '../../store/edges.ts';
import type { EndpointChange, LockedEndpoint } from '../../store/endpoint-writes.ts';

/**
 * What each of the owner's writes does to an endpoint, as pure functions of what is stored: a change, or null where there
 * is nothing left to do. All but the update may be repeated without effect.
 */

export function pause(current: LockedEndpoint): EndpointChange | null {
  if (current.phase === 'paused') return null;
  return {
    action: 'endpoint.pause',
    message: 'paused',
    phase: 'paused',
    projection: { state: 'paused', message: 'Endpoint is paused', readyReplica: 0, targetReplica: 0 },
  };
}

/**
 * Starts a paused endpoint, tries a failed one again, wakes a sleeping one.
 * @throws EndpointsError INVALID_STATE when it is running; clients look for the words "already running"
 */
export function resume(current: LockedEndpoint): EndpointChange | null {
  const act = { action: 'endpoint.resume', message: `resumed from ${current.state}` };
  if (current.phase === 'paused')
    return { ...act, phase: 'running', projection: startedEdge(current.wish.spec) };
  switch (current.state) {
    case 'running':
    case 'updating':
      throw new EndpointsError(
        'INVALID_STATE',
        `the endpoint is already running (state '${current.state}'): there is nothing to resume`,
      );
    case 'failed':
    case 'scaledToZero':
      return { ...act, projection: startedEdge(current.wish.spec) };
    case 'updateFailed':
      return { ...act, projection: { state: 'updating', message: 'Endpoint waiting for the update' } };
    default:
      return null;
  }
}

/** @throws EndpointsError INVALID_STATE when it is paused: it would not wake by a request, as the caller expects */
export function scaleToZero(current: LockedEndpoint): EndpointChange | null {
  if (current.phase === 'paused')
    throw new EndpointsError(
      'INVALID_STATE',
      'the endpoint is paused and has no replica: resume it first if requests are to wake it',
    );
  if (current.state === 'scaledToZero') return null;
  return {
    action: 'endpoint.scale_to_zero',
    message: `scaled to zero from ${current.state}`,
    sleep: true,
    projection: {
      state: 'scaledToZero',
      message: 'Endpoint is scaled to zero: the next request wakes it (stopping its replicas)',
      readyReplica: 0,
      targetReplica: 0,
    },
  };
}

export function remove(current: LockedEndpoint): EndpointChange | null {
  if (current.phase === 'deleted') return null;
  return { action: 'endpoint.delete', message: 'deleted', phase: 'deleted' };
}

/**
 * Puts a merged wish in place. When nothing differs nothing is written, except that a failed endpoint is tried again:
 * asking for the same once more is what its owner has left to do.
 */
export function update(
  current: LockedEndpoint,
  wish: OwnersWish,
  weights: WeightsPlan | null,
): EndpointChange | null {
  const changes = changesOf(current.wish, wish);
  const failed = current.phase === 'running' && ['failed', 'updateFailed'].includes(current.state);
  if (changes.length === 0 && !failed) return null;
  const newContainers = needsNewContainers(current.wish, wish);
  const projection = updateEdge(current, wish.spec, newContainers);
  return {
    action: 'endpoint.update',
    message: changes.length === 0 ? 'tried again' : `updated ${changes.map((c) => c.path).join(', ')}`,
    changes,
    wish,
    ...(newContainers ? { revision: { weights } } : {}),
    ...(projection ? { projection } : {}),
  };
}
