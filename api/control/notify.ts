import type { Client } from '@temporalio/client';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import type { TemporalConfig } from '../../runtime/config.ts';
import { endpointWorkflowId, hostWorkflowId } from '../../spec/names.ts';
import {
  agentJoined,
  type EndpointInput,
  type HostInput,
  specChanged,
  WORKFLOWS,
  wake,
} from '../../workflows/messages.ts';

/** Tells workflows that there is something new in the store. Repeating it does no harm. */
export interface Notifier {
  /** Starts the endpoint's workflow, or wakes it to read its spec; `wake` also ends a sleep. */
  endpointChanged(endpoint: EndpointInput, options?: { wake?: boolean }): Promise<void>;
  hostJoined(host: HostInput): Promise<void>;
}

/** A call that takes longer is given up: the relay tries again, and the API must not pile up calls meanwhile. */
const DEADLINE_MS = 5000;

const ENDPOINT_NAMESPACE = defineSearchAttributeKey('EndpointNamespace', SearchAttributeType.KEYWORD);
const ENDPOINT_NAME = defineSearchAttributeKey('EndpointName', SearchAttributeType.KEYWORD);
const ENDPOINT_HOST = defineSearchAttributeKey('EndpointHost', SearchAttributeType.KEYWORD);

export function createNotifier(client: Client, config: TemporalConfig): Notifier {
  const taskQueue = config.taskQueues.control;
  const withDeadline = (call: () => Promise<unknown>) =>
    client.withDeadline(Date.now() + DEADLINE_MS, call).then(() => undefined);
  return {
    endpointChanged: (endpoint, options = {}) =>
      withDeadline(async () => {
        // The wake first: what fails after it leaves the write unseen, and the relay tells of it again.
        const [first, ...rest] = options.wake ? ([wake, specChanged] as const) : ([specChanged] as const);
        const handle = await client.workflow.signalWithStart(WORKFLOWS.endpoint, {
          workflowId: endpointWorkflowId(endpoint.namespace, endpoint.name),
          taskQueue,
          args: [endpoint],
          signal: first,
          staticSummary: `endpoint ${endpoint.namespace}/${endpoint.name}`,
          typedSearchAttributes: [
            { key: ENDPOINT_NAMESPACE, value: endpoint.namespace },
            { key: ENDPOINT_NAME, value: endpoint.name },
          ],
        });
        for (const signal of rest) await handle.signal(signal);
      }),
    hostJoined: (host) =>
      withDeadline(() =>
        client.workflow.signalWithStart(WORKFLOWS.host, {
          workflowId: hostWorkflowId(host.hostId),
          taskQueue,
          args: [host],
          signal: agentJoined,
          staticSummary: `host ${host.hostId}`,
          typedSearchAttributes: [{ key: ENDPOINT_HOST, value: host.hostId }],
        }),
      ),
  };
}
