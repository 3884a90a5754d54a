import { cancellationSignal, heartbeat, sleep } from '@temporalio/activity';
import { engineFor } from '../../engines/index.ts';
import type { EndpointSpec } from '../../spec/endpoint.ts';
import { EndpointsError } from '../../spec/errors.ts';
import { findInstance, type Instance } from '../../spec/hardware.ts';
import { type Need, needOf, reservePlace, sweepPlaces } from '../../store/placement.ts';
import { toApplicationFailure } from '../failures.ts';
import type { ControlActivities, ReplicaRef } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';
import { revisionOf } from './revision.ts';

const LOOK_AGAIN_MS = 1000;

export function placementActivities(
  deps: ControlDeps,
): Pick<ControlActivities, 'reservePlace' | 'awaitPlace' | 'sweepStore'> {
  const { store, config } = deps;

  const reserve = async ({ replicaId }: ReplicaRef) => {
    try {
      const { spec } = await revisionOf(store, replicaId);
      return await reservePlace(store, {
        replicaId,
        ...spec.provider,
        need: { ...needOf(instanceOf(deps, spec)), driver: driverOf(spec) },
        cpuOvercommit: config.placement.cpuOvercommit,
      });
    } catch (error) {
      throw toApplicationFailure(error);
    }
  };

  return {
    reservePlace: reserve,
    awaitPlace: async (ref) => {
      for (;;) {
        const place = await reserve(ref);
        if (place.hostId !== null) return place;
        heartbeat(place.message);
        cancellationSignal().throwIfAborted();
        await sleep(LOOK_AGAIN_MS);
      }
    },
    sweepStore: async () => ({ removed: await sweepPlaces(store) }),
  };
}

/** What the image asks of a host's driver, as far as its engine can tell by its name. */
function driverOf({ model }: EndpointSpec): Need['driver'] {
  const { engine, settings } = engineFor(model.image);
  const need = engine.driverNeed?.(settings, model.env);
  return need ? { image: 'url' in settings ? settings.url : engine.name, need } : null;
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
