import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { PlatformConfig, TemporalConfig } from '../runtime/config.ts';
import type { Logger } from '../runtime/log.ts';
import { endpointWorkflowId, hostWorkflowId } from '../spec/names.ts';
import type { Store } from '../store/database.ts';
import { agentJoined, specChanged, WORKFLOWS } from '../workflows/messages.ts';

/**
 * What must run as long as the installation does: the janitor's schedule, the autoscaler, and one workflow for every
 * stored endpoint and host. Repeated at every worker start, so that an empty Temporal database fills itself from the
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
  const hosts = await store.selectFrom('hosts').select(['id', 'name']).execute();
  for (const host of hosts) {
    await temporal.workflow.signalWithStart(WORKFLOWS.host, {
      workflowId: hostWorkflowId(host.id),
      taskQueue,
      args: [{ hostId: host.id }],
      signal: agentJoined,
      staticSummary: `host ${host.name}`,
    });
  }
  const endpoints = await store.selectFrom('endpoints').select(['namespace', 'name']).execute();
  for (const at of endpoints) {
    await temporal.workflow.signalWithStart(WORKFLOWS.endpoint, {
      workflowId: endpointWorkflowId(at.namespace, at.name),
      taskQueue,
      args: [at],
      signal: specChanged,
      staticSummary: `${at.namespace}/${at.name}`,
    });
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
