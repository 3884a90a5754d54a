import type { Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { tsToMs } from '@temporalio/common/lib/time.js';

/** When a replica passed each step of its start, by its own history; milliseconds since the epoch. */
export interface ReplicaTimes {
  workflowStarted: number;
  fetchScheduled: number;
  fetchDone: number;
  /** When the agent first asked Docker. */
  containerCalled: number;
  containerStarted: number;
  /** When the engine had answered its first inference. */
  ready: number;
}

export async function replicaTimes(client: Client, workflowId: string): Promise<ReplicaTimes> {
  const { events = [] } = await client.workflow.getHandle(workflowId).fetchHistory();
  const list = events ?? [];
  const at = (event: (typeof list)[number] | undefined) => tsToMs(event?.eventTime);
  const scheduled = (type: string) =>
    list.find((e) => e.activityTaskScheduledEventAttributes?.activityType?.name === type);
  const completed = (type: string) => {
    const id = scheduled(type)?.eventId;
    return list.find((e) => id != null && e.activityTaskCompletedEventAttributes?.scheduledEventId?.eq(id));
  };
  const result = <T>(type: string): T => {
    const [payload] = completed(type)?.activityTaskCompletedEventAttributes?.result?.payloads ?? [];
    if (!payload) throw new Error(`${workflowId} has no finished ${type}`);
    return defaultPayloadConverter.fromPayload<T>(payload);
  };
  return {
    workflowStarted: at(list[0]),
    fetchScheduled: at(scheduled('pullImage')),
    fetchDone: Math.max(at(completed('pullImage')), at(completed('downloadWeights'))),
    containerCalled: result<{ calledAt: number }>('startContainer').calledAt,
    containerStarted: at(completed('startContainer')),
    ready: result<{ readyAt: number }>('waitReady').readyAt,
  };
}

/** When a replica passed each step of its newest wake, by its own history; milliseconds since the epoch. */
export interface WakeTimes {
  /** Its workflow was started, or told to resume. */
  told: number;
  /** The step for the host was handed to Temporal. */
  scheduled: number;
  /** When the agent first asked Docker. */
  called: number;
  /** When the engine had answered. */
  ready: number;
}

export async function wakeTimes(client: Client, workflowId: string): Promise<WakeTimes> {
  const { events } = await client.workflow.getHandle(workflowId).fetchHistory();
  const list = events ?? [];
  const scheduled = list.findLast((e) =>
    ['startReady', 'resumeContainer'].includes(
      e.activityTaskScheduledEventAttributes?.activityType?.name ?? '',
    ),
  );
  const id = scheduled?.eventId;
  const completed = list.find(
    (e) => id != null && e.activityTaskCompletedEventAttributes?.scheduledEventId?.eq(id),
  );
  const [payload] = completed?.activityTaskCompletedEventAttributes?.result?.payloads ?? [];
  if (!payload) throw new Error(`${workflowId} has no finished wake`);
  const { calledAt, readyAt } = defaultPayloadConverter.fromPayload<{ calledAt: number; readyAt: number }>(
    payload,
  );
  const resumed = list.findLast((e) => e.workflowExecutionSignaledEventAttributes?.signalName === 'resume');
  return {
    told: tsToMs((resumed ?? list[0])?.eventTime),
    scheduled: tsToMs(scheduled?.eventTime),
    called: calledAt,
    ready: readyAt,
  };
}
