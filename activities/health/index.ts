import { Context } from '@temporalio/activity';
import type Docker from 'dockerode';
import type { Failure } from '../../spec/errors.ts';
import type { ReplicaPlan } from '../../spec/lifecycle.ts';
import type { ReplicaStage } from '../../spec/states.ts';
import type { ReplicaRecords } from '../containers/records.ts';
import { toApplicationFailure } from '../failures.ts';
import type { HostActivities } from '../interfaces.ts';
import { untilReady } from './wait.ts';

const HEARTBEAT_MS = 1000;

export interface HealthDeps {
  docker: Docker;
  records: ReplicaRecords;
  report(replicaId: string, stage: ReplicaStage, message: string): void;
  /** Told why a replica did not get ready, for what that says about the host. */
  onLoss?(plan: ReplicaPlan, failure: Failure): void;
}

/** The part of a host's activities that asks engines how they are. */
export function createHealthActivities(deps: HealthDeps): Pick<HostActivities, 'waitReady'> {
  return {
    async waitReady(plan) {
      try {
        return await waitReady(deps, plan);
      } catch (error) {
        const failure = toApplicationFailure(error);
        const [cause] = (failure.details ?? []) as Failure[];
        if (cause) deps.onLoss?.(plan, cause);
        throw failure;
      }
    },
  };
}

async function waitReady(deps: HealthDeps, plan: ReplicaPlan): Promise<{ address: string; readyAt: number }> {
  const context = Context.current();
  let waitingFor = 'health';
  const beat = setInterval(() => context.heartbeat({ waitingFor }), HEARTBEAT_MS);
  try {
    const { containerId, address } = await untilReady({
      docker: deps.docker,
      plan,
      signal: context.cancellationSignal,
      onHealthy: () => {
        waitingFor = 'inference';
        deps.report(plan.replicaId, 'initializing', 'waiting for first inference');
      },
    });
    const readyAt = Date.now();
    await deps.records.markReady(plan.replicaId, containerId);
    return { address, readyAt };
  } finally {
    clearInterval(beat);
  }
}
