import { cancellationSignal, heartbeat, sleep } from '@temporalio/activity';
import { addRoute, drainState, openReplica, startDraining, stopDraining } from '../../store/routes.ts';
import { restReplica } from '../../store/standby.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';

const LOOK_AGAIN_MS = 200;

/** Into service and out of it: what gateways route to. */
export function routingActivities({
  store,
  vault,
  config,
}: ControlDeps): Pick<
  ControlActivities,
  'routeIn' | 'openReplica' | 'routeOut' | 'routeBack' | 'drain' | 'restReplica'
> {
  return {
    routeIn: ({ replicaId, endpointId, address }) =>
      addRoute(store, vault, { replicaId, endpointId, address, engineKey: vault.engineKey(replicaId) }),
    openReplica: ({ replicaId, endpointId, address, message }) => {
      const engineKey = vault.engineKey(replicaId);
      return openReplica(store, vault, { replicaId, endpointId, address, engineKey, message });
    },
    routeOut: async ({ replicaId }) => ({ version: await startDraining(store, replicaId) }),
    routeBack: ({ replicaId }) => stopDraining(store, replicaId),
    restReplica: ({ replicaId, standby, message }) => restReplica(store, { replicaId, standby, message }),
    drain: async ({ replicaId, version }) => {
      const deadline = Date.now() + config.lifecycle.drainSeconds * 1000;
      for (;;) {
        const { inFlight, caughtUp } = await drainState(store, { replicaId, version });
        if (caughtUp && inFlight === 0) return { drained: true, inFlight: 0 };
        if (Date.now() >= deadline) return { drained: false, inFlight };
        heartbeat({ inFlight, caughtUp });
        cancellationSignal().throwIfAborted();
        await sleep(LOOK_AGAIN_MS);
      }
    },
  };
}
