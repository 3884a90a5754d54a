import { activityInfo } from '@temporalio/activity';
import { repairSchedules } from '../../runtime/schedules.ts';
import { fireSchedule } from '../../store/schedule-firing.ts';
import { allSchedules } from '../../store/schedules.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';

/** Scheduled scaling: what a firing does, and the repair of what fires. */
export function scheduleActivities({
  store,
  vault,
  temporal,
}: ControlDeps): Pick<ControlActivities, 'fireSchedule' | 'repairSchedules'> {
  return {
    fireSchedule: ({ at, ...due }) => fireSchedule(store, vault, { ...due, at: new Date(at) }),
    repairSchedules: () => repairSchedules(temporal, activityInfo().taskQueue, () => allSchedules(store)),
  };
}
