import { engineFor } from '../../engines/index.ts';
import { moreSharedMemory } from '../../engines/limits.ts';
import type { EndpointSecrets } from '../../spec/endpoint.ts';
import { EndpointsError } from '../../spec/errors.ts';
import type { ReplicaPlan } from '../../spec/lifecycle.ts';
import { containerName } from '../../spec/names.ts';
import {
  beginReplica,
  lackedSharedMemory,
  loadRevision,
  noteWaiting,
  pinImage,
  pinWeights,
} from '../../store/lifecycle.ts';
import { beating } from '../beating.ts';
import { toApplicationFailure } from '../failures.ts';
import type { ControlActivities } from '../interfaces.ts';
import { seal } from '../seal.ts';
import type { ControlDeps } from './deps.ts';
import { instanceOf, noPlace, reserve } from './placement.ts';
import { revisionOf } from './revision.ts';

/** What exactly a replica runs: the files of one commit, one container, the secrets sealed for one host. */
export function planActivities(
  deps: ControlDeps,
): Pick<ControlActivities, 'pinRevision' | 'pinImage' | 'planReplica' | 'prepareReplica'> {
  return {
    pinRevision: beating((input) => pinRevision(deps, input).catch(fail)),
    pinImage: ({ endpointId, revision, image }) => pinImage(deps.store, endpointId, revision, image),
    planReplica: (input) => planReplica(deps, input).catch(fail),
    prepareReplica: (input) => prepareReplica(deps, input).catch(fail),
  };
}

function fail(error: unknown): never {
  throw toApplicationFailure(error);
}

async function pinRevision(
  { store, hub }: ControlDeps,
  { endpointId, revision }: { endpointId: string; revision: number },
): Promise<{ commit: string | null }> {
  const found = await loadRevision(store, endpointId, revision);
  if (!found)
    throw new EndpointsError(
      'NOT_FOUND',
      `revision ${revision} of endpoint ${endpointId} is not stored any more`,
    );
  if (found.weights) return { commit: found.weights.commit };
  const { model } = found.spec;
  const { repository } = model;
  const resolved = await hub
    .resolveModel({ repository, revision: model.revision })
    .catch(async (error: unknown) => {
      // It is asked again; until then whoever looks at the endpoint should know what it waits for.
      if (error instanceof EndpointsError && error.retryable)
        await noteWaiting(store, { endpointId, revision, message: `waiting for the Hub: ${error.message}` });
      throw error;
    });
  const { engine, settings } = engineFor(model.image);
  const selection = engine.selectFiles(resolved.files, settings, model);
  if (!selection.ok) throw new EndpointsError(selection.code, selection.message);
  await pinWeights(store, endpointId, revision, {
    repository,
    commit: resolved.commit,
    files: selection.files,
  });
  return { commit: resolved.commit };
}

async function prepareReplica(
  deps: ControlDeps,
  input: Parameters<ControlActivities['prepareReplica']>[0],
): ReturnType<ControlActivities['prepareReplica']> {
  await beginReplica(deps.store, input);
  const revision = await revisionOf(deps.store, input.replicaId);
  const place = await reserve(deps, input.replicaId, revision);
  if (place.hostId === null) return noPlace(place);
  const { hostId } = place;
  return { hostId, plan: await planReplica(deps, { ...input, hostId }, revision) };
}

async function planReplica(
  deps: ControlDeps,
  input: { replicaId: string; number: number; hostId: string; workflowId: string },
  found?: Awaited<ReturnType<typeof revisionOf>>,
): Promise<ReplicaPlan> {
  const { store, vault, config } = deps;
  const known = found ?? (await revisionOf(store, input.replicaId));
  const { spec, secrets, weights, image, endpointId, revision } = known;
  // At once: a request that wakes the endpoint waits for this.
  const [host, place, lacked] = await Promise.all([
    store
      .selectFrom('hosts')
      .select(['public_key', 'inventory'])
      .where('id', '=', input.hostId)
      .executeTakeFirstOrThrow(),
    store
      .selectFrom('allocations')
      .select('gpus')
      .where('replica_id', '=', input.replicaId)
      .executeTakeFirst(),
    lackedSharedMemory(store, { endpointId, revision, before: input.number }),
  ]);
  const instance = instanceOf(deps, spec);
  const { model } = spec;
  const { engine, settings } = engineFor(model.image);
  const own: EndpointSecrets = secrets
    ? vault.decrypt<EndpointSecrets>(secrets, `revision:${endpointId}:${revision}`)
    : { env: {}, registry: null };
  const container = engine.container({
    settings,
    // CPUs may be promised more than once, but no engine should run more threads than there are cores.
    instance: { ...instance, cpus: Math.min(instance.cpus, host.inventory.cpus) },
    env: model.env,
    command: model.command,
    args: model.args,
    gpus: place?.gpus ?? [],
    servedName: model.repository,
    task: model.task,
  });
  return {
    replicaId: input.replicaId,
    endpointId,
    workflowId: input.workflowId,
    revision,
    containerName: containerName(deps.installation, input.replicaId),
    weights: weights && weights.files.length > 0 ? weights : null,
    container: lacked ? moreSharedMemory(container) : container,
    pinnedImage: image,
    sealed: await seal(host.public_key, {
      ...own,
      hubToken: deps.hubToken,
      engineKey: vault.engineKey(input.replicaId),
    }),
    readiness: {
      engine: engine.name,
      health: engine.readiness(settings),
      inference: engine.inference(settings, model.repository, model),
      deadlineMs: config.lifecycle.readyDeadlineSeconds * 1000,
    },
  };
}
