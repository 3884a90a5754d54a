/**
 * Names that several processes must derive alike. Every resource an endpoint owns is named after the endpoint and
 * the replica's number, never after an attempt or a run, so that doing a step twice finds what the first try made.
 */

/** Lower-case letters, digits and inner hyphens, 1 to 32 characters (public API, `Endpoint.name`). */
export const ENDPOINT_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
/** A user or organisation: letters, digits, `-`, `_`, `.`; 1 to 96 characters; no leading or trailing punctuation. */
export const NAMESPACE_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?$/;

export function endpointWorkflowId(namespace: string, name: string): string {
  return `endpoint/${namespace}/${name}`;
}

export function replicaWorkflowId(namespace: string, name: string, number: number): string {
  return `replica/${namespace}/${name}/${number}`;
}

export function hostWorkflowId(hostId: string): string {
  return `host/${hostId}`;
}

/** The queue only the agent of this host polls. */
export function hostTaskQueue(hostId: string): string {
  return `host-${hostId}`;
}

/** `<first 8 of the endpoint's id>-<number>`: unique over all endpoints, also over a deleted one of the same name. */
export function replicaId(endpointId: string, number: number): string {
  return `${endpointId.slice(0, 8)}-${number}`;
}

/** The first 24 hex digits of the endpoint's id: its host name below a site's domain, and the only label in front of it. */
export function hostLabel(endpointId: string): string {
  return endpointId.replaceAll('-', '').slice(0, 24);
}

/** Container names are unique per Docker engine, so they carry the installation too. */
export function containerName(installation: string, replica: string): string {
  return `ep-${installation}-${replica}`;
}

/** Docker labels by which the agent and the janitor recognise what is ours, and whose. */
export const LABELS = {
  installation: 'inference-endpoints.installation',
  endpoint: 'inference-endpoints.endpoint',
  replica: 'inference-endpoints.replica',
  workflow: 'inference-endpoints.workflow',
  revision: 'inference-endpoints.revision',
} as const;
