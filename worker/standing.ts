import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Client,
  NamespaceNotFoundError,
  ScheduleAlreadyRunning,
  ScheduleOverlapPolicy,
  WorkflowNotFoundError,
} from '@temporalio/client';
import type { PlatformConfig, TemporalConfig } from '../runtime/config.ts';
import type { Logger } from '../runtime/log.ts';
import { repairSchedules } from '../runtime/schedules.ts';
import { errorMessage } from '../spec/errors.ts';
import type { Store } from '../store/database.ts';
import { allSchedules } from '../store/schedules.ts';
import { WORKFLOWS } from '../workflows/messages.ts';
import { createNotifier } from '../workflows/start.ts';
import { prepareNamespace } from './namespace.ts';

/** The one by whose absence a Temporal without our workflows is told. */
const AUTOSCALER = 'autoscaler';
/** A look is one read of Temporal; until it is noticed nothing is scaled, replaced or updated. */
const LOOK_EVERY_MS = 5000;

interface Standing {
  temporal: Client;
  temporalConfig: TemporalConfig;
  config: PlatformConfig;
  store: Store;
  log: Logger;
}

/**
 * What must run as long as the installation does: the janitor's schedule, the autoscaler, one workflow for every
 * stored endpoint and host, and a schedule for every scaling rule. Repeated at every worker start and by
 * {@link keepStanding}, so that an empty Temporal database fills itself from the store.
 */
export async function startStandingWorkflows(deps: Standing): Promise<void> {
  const { temporal, temporalConfig, config, store } = deps;
  const taskQueue = temporalConfig.taskQueues.control;
  await ensureJanitor(temporal, taskQueue, config.lifecycle.janitorSeconds * 1000);
  await temporal.workflow.start(WORKFLOWS.autoscaler, {
    workflowId: AUTOSCALER,
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

/**
 * Starts them again when Temporal has lost them while this worker ran: its database may be replaced under a server that
 * workers find again by themselves. Looks until `signal` ends it.
 */
export async function keepStanding(deps: Standing, signal: AbortSignal): Promise<void> {
  let away = false;
  const pause = () => sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  for (await pause(); !signal.aborted; await pause()) {
    try {
      if (!(await autoscalerRuns(deps.temporal))) {
        deps.log.warn('Temporal does not know the standing workflows any more; starting them from the store');
        await prepareNamespace(deps.temporal, deps.temporalConfig);
        await startStandingWorkflows(deps);
      }
      away = false;
    } catch (error) {
      // Once per outage: whoever needs Temporal says so too.
      if (!away && !signal.aborted)
        deps.log.warn({ reason: errorMessage(error) }, 'standing workflows not looked at; trying on');
      away = true;
    }
  }
}

async function autoscalerRuns(temporal: Client): Promise<boolean> {
  try {
    const { status } = await temporal.withDeadline(Date.now() + LOOK_EVERY_MS, () =>
      temporal.workflow.getHandle(AUTOSCALER).describe(),
    );
    return status.name === 'RUNNING';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError || error instanceof NamespaceNotFoundError) return false;
    throw error;
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
