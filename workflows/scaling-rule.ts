import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { getExternalWorkflowHandle, log, workflowInfo } from '@temporalio/workflow';
import { endpointWorkflowId } from '../spec/names.ts';
import { specChanged, wake } from './messages.ts';
import { store } from './options.ts';

/** Which rule of which endpoint. */
export interface ScalingRuleInput {
  endpointId: string;
  schedule: string;
}

/** Set by Temporal: the moment it was due, which is earlier than its start where a missed firing is made up for. */
const DUE = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME);

/**
 * Started by a rule's schedule: the rule's bounds become the endpoint's, and the endpoint is told as the API would tell
 * it. A signal that is lost is made up for by the API's relay.
 * @returns what it did, for whoever reads it in the Temporal UI
 */
export async function scalingRule(input: ScalingRuleInput): Promise<string> {
  const { startTime, typedSearchAttributes } = workflowInfo();
  const at = (typedSearchAttributes.get(DUE) ?? startTime).toISOString();
  const changed = await store.fireSchedule.executeWithOptions({ summary: `bounds of ${input.schedule}` }, [
    { ...input, at },
  ]);
  if (!changed) return 'nothing to change';
  const { namespace, name } = changed;
  const endpoint = getExternalWorkflowHandle(endpointWorkflowId(namespace, name));
  try {
    if (changed.wake) await endpoint.signal(wake);
    await endpoint.signal(specChanged);
  } catch (error) {
    log.warn('endpoint not told; the relay will tell it', { namespace, name, cause: String(error) });
  }
  return `changed ${namespace}/${name}`;
}
