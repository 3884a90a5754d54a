import { Context } from '@temporalio/activity';
import type Docker from 'dockerode';
import { EndpointsError, errorMessage } from '../../spec/errors.ts';
import type { ReplicaPlan, SealedSecrets, WeightsPlan } from '../../spec/lifecycle.ts';
import { LABELS } from '../../spec/names.ts';
import type { ReplicaStage } from '../../spec/states.ts';
import { toApplicationFailure } from '../failures.ts';
import type { HostActivities, OwnContainer } from '../interfaces.ts';
import { secretsOf } from './create.ts';
import { dockerError, inspectContainer, isAbsent, removeContainer, statusOf } from './docker.ts';
import type { HostImages } from './host-images.ts';
import { readLog, tailOf } from './logs.ts';
import { Network } from './network.ts';
import { ensureImage } from './pull.ts';
import { type PullProgress, pullMessage } from './pull-progress.ts';
import type { ReplicaRecords } from './records.ts';
import { restContainer, resumeContainer } from './standby.ts';
import { bringUp } from './start.ts';

const HEARTBEAT_MS = 2000;

export interface ContainerDeps {
  docker: Docker;
  installation: string;
  records: ReplicaRecords;
  /** Address of this host that containers are published on: loopback, or one private to the site. */
  address: string;
  /** Where the files of a commit lie on this host. */
  weightsPath(weights: WeightsPlan): string;
  unseal(sealed: string): Promise<SealedSecrets>;
  /** Without it images are pulled as they come, and none is ever removed. */
  images?: HostImages;
  /** Progress for readers of the endpoint; best effort. */
  report(replicaId: string, stage: ReplicaStage, message: string): void;
}

type ContainerActivities = Pick<
  HostActivities,
  | 'pullImage'
  | 'startContainer'
  | 'stopContainer'
  | 'restContainer'
  | 'resumeContainer'
  | 'tailLog'
  | 'listContainers'
  | 'removeContainers'
>;

/** The part of a host's activities that speaks to Docker. */
export function createContainerActivities(deps: ContainerDeps): ContainerActivities {
  const network = new Network(deps.docker, deps.installation);
  return {
    pullImage: (input) => guarded(() => pullImage(deps, input)),
    startContainer: (plan) => guarded(() => startContainer(deps, network, plan)),
    stopContainer: (input) => guarded(() => stopContainer(deps, input)),
    restContainer: (input) => guarded(() => restContainer(deps, input)),
    resumeContainer: (input) => guarded(() => resumeContainer(deps, input)),
    tailLog: (input) => guarded(() => tailLog(deps, input.replicaId)),
    listContainers: () => guarded(() => listContainers(deps)),
    removeContainers: (input) => guarded(() => removeContainers(deps, input.names)),
  };
}

async function guarded<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw toApplicationFailure(error);
  }
}

async function pullImage(
  deps: ContainerDeps,
  input: Parameters<HostActivities['pullImage']>[0],
): Promise<{ pulled: boolean; image: string }> {
  const context = Context.current();
  const { registry } = await deps.unseal(input.sealed);
  let progress: PullProgress = { doneLayers: 0, layers: 0, doneBytes: 0, totalBytes: 0 };
  // By the clock and not by progress: while layers are unpacked the engine says nothing.
  const beat = setInterval(() => context.heartbeat(progress), HEARTBEAT_MS);
  try {
    const ensured = await ensureImage(deps.docker, input.image, {
      pinned: input.pinned ?? null,
      registry,
      onProgress: (now) => {
        progress = now;
        deps.report(input.replicaId, 'pulling', pullMessage(now));
      },
      signal: context.cancellationSignal,
      prepare: async (wanted) => {
        const { cancellationSignal: signal } = context;
        return (await deps.images?.prepare(wanted, { registry, gpus: input.gpus ?? 0, signal })) ?? null;
      },
    });
    await deps.images?.note(ensured.image, ensured.pulled);
    return ensured;
  } catch (error) {
    // It is tried again; until then whoever looks at the endpoint should know what it waits for.
    if (error instanceof EndpointsError && error.retryable)
      deps.report(input.replicaId, 'pulling', error.message);
    throw error;
  } finally {
    clearInterval(beat);
  }
}

async function startContainer(
  deps: ContainerDeps,
  network: Network,
  plan: ReplicaPlan,
): Promise<{ containerId: string; address: string; calledAt: number }> {
  const [secrets, networkId] = await Promise.all([deps.unseal(plan.sealed), network.id()]);
  deps.report(plan.replicaId, 'initializing', 'starting engine');
  const calledAt = Date.now();
  const started = await bringUp(deps.docker, plan, secrets, {
    installation: deps.installation,
    networkId,
    address: deps.address,
    weightsPath: plan.weights && deps.weightsPath(plan.weights),
  });
  const { sealed: _, ...known } = plan;
  const earlier = await deps.records.read(plan.replicaId);
  const readyAt = earlier?.containerId === started.containerId ? earlier.readyAt : null;
  await deps.records.write({ plan: known, ...started, readyAt });
  return { ...started, calledAt };
}

async function stopContainer(
  { docker, records }: ContainerDeps,
  input: { replicaId: string; containerName: string; graceMs: number },
): Promise<{ exitCode: number | null }> {
  // First, so that the watch does not take a wanted end for a loss.
  await records.remove(input.replicaId);
  const found = await inspectContainer(docker, input.containerName);
  if (!found) return { exitCode: null };
  try {
    // A frozen one cannot hear a signal; it serves nobody, and the removal below kills it.
    if (!found.State.Paused) await docker.getContainer(found.Id).stop({ t: Math.ceil(input.graceMs / 1000) });
  } catch (error) {
    // 304: not running any more. A container that cannot be stopped is killed by the removal below.
    if (!isAbsent(error) && statusOf(error) !== 304 && statusOf(error) !== 500)
      throw dockerError(error, `stopping container ${input.containerName}`);
  }
  const ended = await inspectContainer(docker, found.Id);
  await removeContainer(docker, found.Id);
  return { exitCode: ended ? ended.State.ExitCode : null };
}

async function tailLog({ docker, records }: ContainerDeps, replicaId: string): Promise<string | null> {
  const record = await records.read(replicaId);
  const info = record && (await inspectContainer(docker, record.containerId));
  return info ? tailOf(await readLog(docker, info.Id, secretsOf(info))) || null : null;
}

async function listContainers({ docker, installation }: ContainerDeps): Promise<OwnContainer[]> {
  try {
    const containers = await docker.listContainers({
      all: true,
      filters: { label: [`${LABELS.installation}=${installation}`] },
    });
    return containers.map((container) => ({
      name: container.Names[0]?.replace(/^\//, '') ?? container.Id,
      replicaId: container.Labels[LABELS.replica] ?? '',
      createdAtMs: container.Created * 1000,
      running: container.State === 'running',
    }));
  } catch (error) {
    throw dockerError(error, 'listing containers');
  }
}

/** Removes what is ours among the names; another one's container of that name stays. */
async function removeContainers(deps: ContainerDeps, names: readonly string[]): Promise<void> {
  const failures: unknown[] = [];
  for (const name of names) {
    try {
      const info = await inspectContainer(deps.docker, name);
      if (info?.Config.Labels[LABELS.installation] !== deps.installation) continue;
      const replicaId = info.Config.Labels[LABELS.replica];
      if (replicaId) await deps.records.remove(replicaId);
      await removeContainer(deps.docker, info.Id);
    } catch (error) {
      // The others are removed all the same.
      failures.push(error);
    }
  }
  if (failures.length) {
    throw dockerError(
      new Error(failures.map(errorMessage).join('; ')),
      `removing ${failures.length} of ${names.length} containers`,
    );
  }
}
