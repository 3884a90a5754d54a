import type { ControlActivities } from '../interfaces.ts';
import { autoscaleActivity } from './autoscale.ts';
import { bakeActivity } from './bake.ts';
import type { ControlDeps } from './deps.ts';
import { endpointActivities } from './endpoints.ts';
import { hostActivities } from './hosts.ts';
import { placementActivities } from './placement.ts';
import { planActivities } from './plan.ts';
import { routingActivities } from './routing.ts';
import { scheduleActivities } from './schedules.ts';

export type { ControlDeps } from './deps.ts';

/** All activities of the control queue. */
export function createControlActivities(deps: ControlDeps): ControlActivities {
  return {
    ...endpointActivities(deps),
    ...placementActivities(deps),
    ...planActivities(deps),
    ...routingActivities(deps),
    ...hostActivities(deps),
    ...autoscaleActivity(deps),
    ...scheduleActivities(deps),
    ...bakeActivity(deps),
  };
}
