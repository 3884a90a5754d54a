import type { Client } from '@temporalio/client';
import type { TemporalConfig } from '../runtime/config.ts';
import { endpointWorkflowId, hostWorkflowId } from '../spec/names.ts';
import { attributePairs } from './attributes.ts';
import { agentJoined, type EndpointInput, type HostInput, specChanged, WORKFLOWS, wake } from './messages.ts';

/**
 * How API, gateway and worker reach the workflows of endpoints and hosts: starts the one that is not there. Repeating a
 * call does no harm.
 */
export interface Notifier {
  /** Starts the endpoint's workflow, or wakes it to read its spec; `wake` also ends a sleep. */
  endpointChanged(endpoint: EndpointInput, options?: { wake?: boolean }): Promise<void>;
  /** `known`: the host was in service already; then its workflow is only made sure of, without a word in its history. */
  hostJoined(host: HostInput, options?: { known?: boolean }): Promise<void>;
}

/** A call that takes longer is given up: the relay tries again, and the API must not pile up calls meanwhile. */
const DEADLINE_MS = 5000;

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
          typedSearchAttributes: attributePairs({
            EndpointNamespace: endpoint.namespace,
            EndpointName: endpoint.name,
          }),
        });
        for (const signal of rest) await handle.signal(signal);
      }),
    hostJoined: (host, { known = false } = {}) =>
      withDeadline(() => {
        const options = {
          workflowId: hostWorkflowId(host.hostId),
          taskQueue,
          args: [host] as [HostInput],
          staticSummary: `host ${host.hostId}`,
          typedSearchAttributes: attributePairs({ EndpointHost: host.hostId }),
        };
        return known
          ? client.workflow.start(WORKFLOWS.host, { ...options, workflowIdConflictPolicy: 'USE_EXISTING' })
          : client.workflow.signalWithStart(WORKFLOWS.host, { ...options, signal: agentJoined });
      }),
  };
}
