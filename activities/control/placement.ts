import { cancellationSignal, heartbeat, sleep } from '@temporalio/activity';
import { engineFor } from '../../engines/index.ts';
import type { EndpointSpec } from '../../spec/endpoint.ts';
import { EndpointsError, errorMessage } from '../../spec/errors.ts';
import { findInstance, type Instance } from '../../spec/hardware.ts';
import type { NoPlace } from '../../spec/lifecycle.ts';
import { replicaWorkflowId } from '../../spec/names.ts';
import { type FrozenReplica, type Need, needOf, reservePlace, sweepPlaces } from '../../store/placement.ts';
import { retakePlace } from '../../store/standby.ts';
import { stopReplica } from '../../workflows/messages.ts';
import { toApplicationFailure } from '../failures.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';
import { revisionOf } from './revision.ts';

const LOOK_AGAIN_MS = 1000;
/** A frozen container is gone within a moment. */
const FREEING_MS = 100;
/** One that has not gone by then may not have heard. */
const TELL_AGAIN_MS = 5000;

export function placementActivities(
  deps: ControlDeps,
): Pick<ControlActivities, 'reservePlace' | 'awaitPlace' | 'retakePlace' | 'sweepStore'> {
  const { store } = deps;
  const { cpuOvercommit } = deps.config.placement;

  return {
    reservePlace: async (ref) => {
      const place = await reserve(deps, ref.replicaId).catch(fail);
      return place.hostId === null ? noPlace(place) : place;
    },
    awaitPlace: async ({ nowhere = false, ...ref }) => {
      const told = new Map<string, number>();
      for (;;) {
        const place = await reserve(deps, ref.replicaId).catch(fail);
        if (place.hostId !== null) return place;
        if (place.nowhere !== nowhere) return noPlace(place);
        heartbeat(place.message);
        cancellationSignal().throwIfAborted();
        await tellToGiveWay(deps, place.free, told);
        await sleep(place.free.length > 0 ? FREEING_MS : LOOK_AGAIN_MS);
      }
    },
    retakePlace: async ({ replicaId }) => {
      try {
        const { spec } = await revisionOf(store, replicaId);
        return await retakePlace(store, { replicaId, need: needOf(instanceOf(deps, spec)), cpuOvercommit });
      } catch (error) {
        throw toApplicationFailure(error);
      }
    },
    sweepStore: async () => ({ removed: await sweepPlaces(store) }),
  };
}

/** A place for a replica, whose `revision` need not be read again. */
export async function reserve(
  deps: ControlDeps,
  replicaId: string,
  revision?: Awaited<ReturnType<typeof revisionOf>>,
): ReturnType<typeof reservePlace> {
  const { spec } = revision ?? (await revisionOf(deps.store, replicaId));
  return await reservePlace(deps.store, {
    replicaId,
    ...spec.provider,
    need: { ...needOf(instanceOf(deps, spec)), driver: driverOf(spec) },
    cpuOvercommit: deps.config.placement.cpuOvercommit,
  });
}

/** What a workflow is told: without the replicas that have to go, and as before 0.4 where there could be a place. */
export function noPlace({ hostId, message, nowhere }: NoPlace): NoPlace {
  return { hostId, message, ...(nowhere ? { nowhere } : {}) };
}

function fail(error: unknown): never {
  throw toApplicationFailure(error);
}

/** What the image asks of a host's driver, as far as its engine can tell by its name. */
function driverOf({ model }: EndpointSpec): Need['driver'] {
  const { engine, settings } = engineFor(model.image);
  const need = engine.driverNeed?.(settings, model.env);
  return need ? { image: 'url' in settings ? settings.url : engine.name, need } : null;
}

/** Frozen replicas end, so that a running one gets their room. One that is woken meanwhile does not listen. */
async function tellToGiveWay(
  { temporal, log }: ControlDeps,
  frozen: readonly FrozenReplica[],
  told: Map<string, number>,
): Promise<void> {
  for (const { replicaId, namespace, name, number } of frozen) {
    if (Date.now() - (told.get(replicaId) ?? 0) < TELL_AGAIN_MS) continue;
    told.set(replicaId, Date.now());
    const workflowId = replicaWorkflowId(namespace, name, number);
    log.info({ workflowId }, 'a frozen replica has to go: another one needs its memory');
    await temporal.workflow
      .getHandle(workflowId)
      .signal(stopReplica, { reason: 'memoryNeeded' })
      .catch((error: unknown) => log.warn({ workflowId, reason: errorMessage(error) }, 'not told to go'));
  }
}

/** The catalogue row a spec names. @throws EndpointsError when the catalogue has changed and lacks it. */
export function instanceOf({ config }: Pick<ControlDeps, 'config'>, spec: EndpointSpec): Instance {
  const { accelerator, instanceType, instanceSize } = spec.compute;
  const found = findInstance(config.vendors, {
    ...spec.provider,
    accelerator,
    type: instanceType,
    size: instanceSize,
  });
  if (!found.ok) throw new EndpointsError('VALIDATION_FAILED', `${found.field}: ${found.message}`);
  return found.instance;
}
