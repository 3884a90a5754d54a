import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { getExternalWorkflowHandle, ParentClosePolicy, startChild } from '@temporalio/workflow';
import type { Failure } from '../spec/errors.ts';
import type { Desired, ReplicaView, StopReason } from '../spec/lifecycle.ts';
import { replicaId, replicaWorkflowId } from '../spec/names.ts';
import type { Standby } from '../spec/states.ts';
import { attributePairs } from './attributes.ts';
import { type EndpointInput, resumeReplica as resume, stopReplica as stop } from './messages.ts';
import { replica } from './replica.ts';
import type { ReplicaInput } from './replica-state.ts';

/** Starts the workflow of a replica, of one that `rests` at its rest; false when one of this number is running already. */
export async function startReplica(
  { namespace, name }: EndpointInput,
  desired: Desired,
  { number, revision }: Pick<ReplicaView, 'number' | 'revision'>,
  rests: Pick<ReplicaInput, 'resting'> = {},
): Promise<boolean> {
  const { endpointId, engine, model } = desired;
  const pinned = desired.pinned && revision === desired.revision;
  try {
    await startChild(replica, {
      workflowId: replicaWorkflowId(namespace, name, number),
      args: [{ endpointId, namespace, name, number, revision, engine, model, pinned, ...rests }],
      // A rollover of the endpoint must not end its replicas.
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `${namespace}/${name} replica ${number}, revision ${revision}`,
      staticDetails: `${model} on ${engine}`,
      typedSearchAttributes: attributePairs({
        EndpointNamespace: namespace,
        EndpointName: name,
        EndpointEngine: engine,
        EndpointModel: model,
        EndpointReplica: replicaId(endpointId, number),
      }),
    });
    return true;
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
    throw error;
  }
}

/** Tells a replica to drain and stop, or to rest; false when there is no such workflow any more. */
export async function stopReplica(
  { namespace, name }: EndpointInput,
  number: number,
  reason: StopReason,
  how: { standby?: Standby | undefined; failure?: Failure | undefined } = {},
): Promise<boolean> {
  try {
    const told = {
      reason,
      ...(how.standby ? { standby: how.standby } : {}),
      ...(how.failure ? { failure: how.failure } : {}),
    };
    await getExternalWorkflowHandle(replicaWorkflowId(namespace, name, number)).signal(stop, told);
    return true;
  } catch {
    return false;
  }
}

/** Tells a replica to serve again; false when there is no such workflow any more. */
export async function resumeReplica({ namespace, name }: EndpointInput, number: number): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(replicaWorkflowId(namespace, name, number)).signal(resume);
    return true;
  } catch {
    return false;
  }
}
