import {
  type Client,
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  type ScheduleOptions,
  ScheduleOverlapPolicy,
} from '@temporalio/client';
import { type ScalingSchedule, scheduleId } from '../spec/schedule.ts';
import type { TemporalConfig } from './config.ts';

/**
 * Rules of scheduled scaling as Temporal Schedules: one each, its id derived from endpoint and rule. All of it may be
 * repeated; the store is what counts, and `repairSchedules` makes Temporal follow it.
 */

export type WantedSchedule = ScalingSchedule & { endpointId: string; version: number };

/** What starts when a rule is due; the rule's bounds are read from the store then. */
const WORKFLOW = 'scalingRule';
/** Firings missed while Temporal was down for at most so long are made up for. */
const CATCH_UP = '1 hour';
const PREFIX = scheduleId('', '').split('/')[0];

/** What the API needs of it. */
export interface Scheduler {
  put(rule: WantedSchedule): Promise<void>;
  drop(endpointId: string, name: string): Promise<void>;
}

/** A call that takes longer is given up: the janitor makes up for it. */
const DEADLINE_MS = 5000;

export function createScheduler(
  client: Client,
  { taskQueues }: Pick<TemporalConfig, 'taskQueues'>,
): Scheduler {
  const withDeadline = (call: () => Promise<void>) => client.withDeadline(Date.now() + DEADLINE_MS, call);
  return {
    put: (rule) => withDeadline(() => putSchedule(client, taskQueues.control, rule)),
    drop: (endpointId, name) => withDeadline(() => dropSchedule(client, endpointId, name)),
  };
}

/** Makes the schedule of a rule, or makes it as the rule is now. */
export async function putSchedule(client: Client, taskQueue: string, rule: WantedSchedule): Promise<void> {
  const id = scheduleId(rule.endpointId, rule.name);
  const options = optionsOf(id, taskQueue, rule);
  try {
    await client.schedule.create(options);
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    const { spec, action, policies, state } = options;
    await client.schedule
      .getHandle(id)
      .update((previous) => ({ ...previous, spec, action, policies, state }));
  }
}

/** Absent is success. */
export async function dropSchedule(client: Client, endpointId: string, name: string): Promise<void> {
  await remove(client, scheduleId(endpointId, name));
}

/**
 * Makes Temporal have what the store has: rules it lost or has in an older version, and nothing else. `read` is called
 * after Temporal was asked, so that a rule made meanwhile is not taken for one that is gone.
 */
export async function repairSchedules(
  client: Client,
  taskQueue: string,
  read: () => Promise<WantedSchedule[]>,
): Promise<{ put: number; removed: number }> {
  const found = new Map<string, string | undefined>();
  for await (const { scheduleId: id, state } of client.schedule.list())
    if (id.startsWith(`${PREFIX}/`)) found.set(id, state.note);
  const wanted = new Map((await read()).map((rule) => [scheduleId(rule.endpointId, rule.name), rule]));
  const outdated = [...wanted].filter(([id, rule]) => found.get(id) !== noteOf(rule));
  for (const [, rule] of outdated) await putSchedule(client, taskQueue, rule);
  const orphans = [...found.keys()].filter((id) => !wanted.has(id));
  for (const id of orphans) await remove(client, id);
  return { put: outdated.length, removed: orphans.length };
}

async function remove(client: Client, id: string): Promise<void> {
  try {
    await client.schedule.getHandle(id).delete();
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error;
  }
}

const noteOf = ({ version }: WantedSchedule) => `version ${version}`;

function optionsOf(id: string, taskQueue: string, rule: WantedSchedule) {
  return {
    scheduleId: id,
    spec: { cronExpressions: [rule.cron], timezone: rule.timeZone },
    action: {
      type: 'startWorkflow',
      workflowType: WORKFLOW,
      workflowId: id,
      taskQueue,
      args: [{ endpointId: rule.endpointId, schedule: rule.name }],
      staticSummary: `${rule.name}: ${rule.minReplica} to ${rule.maxReplica} replicas`,
    },
    // One that waits for the store is not passed over by the next.
    policies: { overlap: ScheduleOverlapPolicy.BUFFER_ONE, catchupWindow: CATCH_UP },
    state: { note: noteOf(rule), paused: !rule.enabled },
  } satisfies ScheduleOptions;
}
