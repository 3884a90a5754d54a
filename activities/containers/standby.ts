import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import type Docker from 'dockerode';
import { errorMessage } from '../../spec/errors.ts';
import { ask, listens } from '../health/probe.ts';
import { untilReady } from '../health/wait.ts';
import type { HostActivities } from '../interfaces.ts';
import { engineKeyOf } from './create.ts';
import { dockerError, inspectContainer, isAbsent, statusOf } from './docker.ts';
import type { ReplicaRecord, ReplicaRecords } from './records.ts';

/** A thawed engine answers at once; one that does not is not what was frozen. */
const THAW_BOUND_MS = 5000;
const THAW_PAUSE_MS = 5;
const ACCEPT_HOLD_MS = 20;

export interface StandbyDeps {
  docker: Docker;
  records: ReplicaRecords;
}

type Rest = Parameters<HostActivities['restContainer']>[0];
type Resume = Parameters<HostActivities['resumeContainer']>[0];
type Resumed = Awaited<ReturnType<HostActivities['resumeContainer']>>;

/** Stops or freezes a container that serves nobody any more. Repeating it finds it at rest. */
export async function restContainer({ docker, records }: StandbyDeps, input: Rest) {
  const { standby, graceMs, containerName } = input;
  const record = await records.read(input.replicaId);
  const info = await inspectContainer(docker, containerName);
  if (!record || info?.Id !== record.containerId) return { rested: false };
  if (!info.State.Running) return { rested: standby === 'stopped' && record.standby === 'stopped' };
  // First, so that the watch neither probes it nor takes its end for a loss.
  await records.write({ ...record, readyAt: null, standby });
  const container = docker.getContainer(info.Id);
  if (standby === 'frozen') {
    if (!info.State.Paused) await tolerate(container.pause(), `freezing ${containerName}`);
  } else {
    if (info.State.Paused) await tolerate(container.unpause(), `thawing ${containerName}`);
    await tolerate(container.stop({ t: Math.ceil(graceMs / 1000) }), `stopping ${containerName}`);
  }
  const { State } = await container.inspect();
  return { rested: standby === 'frozen' ? State.Running && State.Paused : !State.Running };
}

/** Lets a kept container go on, if it is still what was kept. */
export async function resumeContainer(deps: StandbyDeps, input: Resume): Promise<Resumed> {
  const { docker, records } = deps;
  const calledAt = Date.now();
  const record = await records.read(input.replicaId);
  const info = await inspectContainer(docker, input.containerName);
  if (!record || info?.Id !== record.containerId) return gone('the kept container is gone');
  if (input.gpus.join() !== record.plan.container.gpus.join()) return gone('its GPUs are in use by another');
  try {
    const container = docker.getContainer(info.Id);
    if (info.State.Paused) await tolerate(container.unpause(), `thawing ${input.containerName}`);
    else if (!info.State.Running && record.standby !== 'stopped') return gone('it ended while it was frozen');
    else if (!info.State.Running) await tolerate(container.start(), `starting ${input.containerName}`);
    const address =
      info.State.Running && record.standby !== 'stopped'
        ? await untilThawed(docker, record, engineKeyOf(info, record.plan.readiness.engine))
        : await untilServing(docker, record);
    if (!address) return gone('it did not answer once it was thawed');
    const readyAt = Date.now();
    await records.write({ ...record, address, readyAt: new Date(readyAt).toISOString(), standby: null });
    return { address, calledAt, readyAt };
  } catch (error) {
    const { cancellationSignal } = Context.current();
    if (cancellationSignal.aborted) throw error;
    // Whatever it is, a new container is the answer.
    return gone(errorMessage(error));
  }
}

function gone(reason: string): Resumed {
  return { address: null, reason };
}

/** The same ports as before it was frozen; null when nothing answers there. */
async function untilThawed(
  docker: Docker,
  { address, plan, containerId }: ReplicaRecord,
  key: string | null,
): Promise<string | null> {
  const { health } = plan.readiness;
  const signal = Context.current().cancellationSignal;
  const until = Date.now() + THAW_BOUND_MS;
  for (; Date.now() < until; await sleep(THAW_PAUSE_MS, undefined, { signal })) {
    if (!health) {
      if (await listens(address, ACCEPT_HOLD_MS, signal)) return address;
      continue;
    }
    const timeoutMs = Math.min(health.timeoutMs, Math.max(1, until - Date.now()));
    const outcome = await ask(address, { ...health, timeoutMs }, key, signal);
    if (outcome.kind === 'ok') return address;
    // One that was killed while it was frozen ends at this moment.
    if (outcome.kind === 'refused' && !(await inspectContainer(docker, containerId))?.State.Running)
      return null;
  }
  return null;
}

/** It loads anew, like any engine that starts. */
async function untilServing(docker: Docker, { plan }: ReplicaRecord): Promise<string> {
  const signal = Context.current().cancellationSignal;
  const { address } = await untilReady({ docker, plan, signal, onHealthy: () => undefined });
  return address;
}

/** A change that is made already, or that its target is gone for, shows in the look that follows. */
async function tolerate(change: Promise<unknown>, doing: string): Promise<void> {
  try {
    await change;
  } catch (error) {
    if (!isAbsent(error) && statusOf(error) !== 304 && statusOf(error) !== 409 && statusOf(error) !== 500)
      throw dockerError(error, doing);
  }
}
