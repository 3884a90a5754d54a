import type { EndpointCreate, EndpointUpdate, Scaling } from './endpoint.ts';
import { EndpointsError } from './errors.ts';

/**
 * The bounds and the metric of an endpoint's scaling, from the two forms clients write (`measure`, and the older
 * `metric` with `threshold`) to the one that is stored.
 */

/** Minutes; what the public API takes when an endpoint may sleep and its owner does not say after how long. */
export const DEFAULT_SCALE_TO_ZERO_MINUTES = 15;

type ScalingInput = NonNullable<NonNullable<EndpointCreate['compute']>['scaling']>;
type ScalingUpdate = NonNullable<NonNullable<EndpointUpdate['compute']>['scaling']>;

/** @throws EndpointsError VALIDATION_FAILED naming the field and its value */
export function normalizeScaling(input: ScalingInput): Scaling {
  const minReplica = input.minReplica ?? 1;
  return checked(
    {
      minReplica,
      maxReplica: input.maxReplica ?? Math.max(1, minReplica),
      scaleToZeroTimeout: null,
      measure: measureOf(input, null),
      ...standbyOf(input, undefined),
    },
    input.scaleToZeroTimeout,
  );
}

/**
 * The stored scaling with the given keys replaced. A timeout that is stored but no longer allowed (the endpoint may not
 * sleep any more) is dropped; one that is given then is refused.
 * @throws EndpointsError VALIDATION_FAILED naming the field and its value
 */
export function mergeScaling(current: Scaling, update: ScalingUpdate): Scaling {
  const merged = {
    minReplica: update.minReplica ?? current.minReplica,
    maxReplica: update.maxReplica ?? current.maxReplica,
    scaleToZeroTimeout: null,
    measure: measureOf(update, current.measure),
    ...standbyOf(update, current.standby),
  };
  const kept = merged.minReplica === 0 ? current.scaleToZeroTimeout : null;
  return checked(merged, update.scaleToZeroTimeout === undefined ? kept : update.scaleToZeroTimeout);
}

function checked(scaling: Scaling, timeout: number | null | undefined): Scaling {
  const { minReplica, maxReplica } = scaling;
  if (maxReplica < 1) refuse('maxReplica', `${maxReplica} is below 1: to stop the endpoint, pause it`);
  if (minReplica > maxReplica) refuse('minReplica', `${minReplica} is above maxReplica ${maxReplica}`);
  if (minReplica > 0 && timeout != null)
    refuse('scaleToZeroTimeout', `${timeout} needs minReplica 0, and minReplica is ${minReplica}`);
  return {
    ...scaling,
    scaleToZeroTimeout: minReplica === 0 ? (timeout ?? DEFAULT_SCALE_TO_ZERO_MINUTES) : null,
  };
}

function measureOf(
  input: Pick<ScalingUpdate, 'measure' | 'metric' | 'threshold'>,
  current: Scaling['measure'],
): Scaling['measure'] {
  if (input.measure !== undefined) return input.measure;
  if (input.metric == null && input.threshold == null) return current;
  const metric = input.metric ?? (current && metricOf(current));
  if (!metric)
    return refuse('threshold', `${input.threshold} needs 'metric', hardwareUsage or pendingRequests`);
  const threshold = input.threshold ?? null;
  if (metric === 'pendingRequests') return { pendingRequests: threshold };
  if (threshold !== null && threshold > 100)
    refuse('threshold', `${threshold} is above 100, and hardwareUsage is a percentage`);
  return { hardwareUsage: threshold };
}

/** `none` is stored as nothing at all, so that an endpoint without it looks as if there were no such setting. */
function standbyOf(
  { standby }: Pick<ScalingUpdate, 'standby'>,
  current: Scaling['standby'],
): Pick<Scaling, 'standby'> {
  const wanted = standby === undefined ? current : standby;
  return wanted && wanted !== 'none' ? { standby: wanted } : {};
}

function metricOf(measure: NonNullable<Scaling['measure']>): 'pendingRequests' | 'hardwareUsage' {
  return 'pendingRequests' in measure ? 'pendingRequests' : 'hardwareUsage';
}

function refuse(field: string, why: string): never {
  throw new EndpointsError('VALIDATION_FAILED', `compute.scaling.${field}: ${why}`);
}
