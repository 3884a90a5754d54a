import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { PlatformConfig, TemporalConfig } from '../runtime/config.ts';
import type { Logger } from '../runtime/log.ts';
import { repairSchedules } from '../runtime/schedules.ts';
import type { Store } from '../store/database.ts';
import { allSchedules } from '../store/schedules.ts';
import { WORKFLOWS } from '../workflows/messages.ts';
import { createNotifier } from '../workflows/start.ts';

/**
 * What must run as long as the installation does: the janitor's schedule, the autoscaler, one workflow for every
 * stored endpoint and host, and a schedule for every scaling rule. Repeated at every worker start, so that an empty Temporal database fills itself from the
 * store.
 */
export async function startStandingWorkflows(deps: {
  temporal: Client;
  temporalConfig: TemporalConfig;
  config: PlatformConfig;
  store: Store;
  log: Logger;
}): Promise<void> {
  const { temporal, temporalConfig, config, store } = deps;
  const taskQueue = temporalConfig.taskQueues.control;
  await ensureJanitor(temporal, taskQueue, config.lifecycle.janitorSeconds * 1000);
  await temporal.workflow.start(WORKFLOWS.autoscaler, {
    workflowId: 'autoscaler',
    taskQueue,
    workflowIdConflictPolicy: 'USE_EXISTING',
    staticSummary: 'measures load, decides, signals',
  });
  await repairSchedules(temporal, taskQueue, () => allSchedules(store));
  const notify = createNotifier(temporal, temporalConfig);
  for (const { id } of await store.selectFrom('hosts').select('id').execute()) {
    await notify.hostJoined({ hostId: id }, { known: true });
  }
  for (const at of await store.selectFrom('endpoints').select(['namespace', 'name']).execute()) {
    await notify.endpointChanged(at);
  }
}

async function ensureJanitor(temporal: Client, taskQueue: string, everyMs: number): Promise<void> {
  const spec = { intervals: [{ every: everyMs }] };
  const action = {
    type: 'startWorkflow' as const,
    workflowType: WORKFLOWS.janitor,
    workflowId: 'janitor',
    taskQueue,
    args: [],
  };
  // A run that is late says nothing new: skip what was missed while we were down.
  const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '10 seconds' } as const;
  try {
    await temporal.schedule.create({ scheduleId: 'janitor', spec, action, policies });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    await temporal.schedule.getHandle('janitor').update((previous) => ({ ...previous, spec, action }));
  }
}
