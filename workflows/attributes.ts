import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { upsertSearchAttributes } from '@temporalio/workflow';

/** What the Temporal UI lists and filters by. All of type Keyword; registered from `temporal.yaml` at worker start. */
const KEYS = {
  EndpointNamespace: defineSearchAttributeKey('EndpointNamespace', SearchAttributeType.KEYWORD),
  EndpointName: defineSearchAttributeKey('EndpointName', SearchAttributeType.KEYWORD),
  EndpointState: defineSearchAttributeKey('EndpointState', SearchAttributeType.KEYWORD),
  EndpointEngine: defineSearchAttributeKey('EndpointEngine', SearchAttributeType.KEYWORD),
  EndpointModel: defineSearchAttributeKey('EndpointModel', SearchAttributeType.KEYWORD),
  EndpointReplica: defineSearchAttributeKey('EndpointReplica', SearchAttributeType.KEYWORD),
  EndpointHost: defineSearchAttributeKey('EndpointHost', SearchAttributeType.KEYWORD),
};
export type Attributes = Partial<Record<keyof typeof KEYS, string>>;

/** The pairs a workflow is started with. */
export function attributePairs(values: Attributes) {
  return (Object.keys(values) as (keyof typeof KEYS)[]).map((name) => ({
    key: KEYS[name],
    value: values[name] ?? '',
  }));
}

/** Sets them from inside a workflow; one event, so only called when something changed. */
export function setAttributes(values: Attributes): void {
  upsertSearchAttributes(attributePairs(values));
}
