import { replicaWorkflowId } from '../../spec/names.ts';
import { setHostState } from '../../store/hosts.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';

/** A container younger than this may belong to a replica whose row is still being written. */
const ORPHAN_AGE_MS = 60_000;

export function hostActivities({
  store,
  config,
}: ControlDeps): Pick<ControlActivities, 'setHostState' | 'replicasOnHost' | 'listHosts' | 'findOrphans'> {
  return {
    setHostState: async ({ hostId, state }) => {
      await setHostState(store, hostId, state);
      return { lostAfterMs: config.lifecycle.hostLostSeconds * 1000 };
    },
    replicasOnHost: async ({ hostId }) => {
      const rows = await store
        .selectFrom('replicas')
        .innerJoin('endpoints', 'endpoints.id', 'replicas.endpoint_id')
        .select(['endpoints.namespace', 'endpoints.name', 'replicas.number'])
        .where('replicas.host_id', '=', hostId)
        .where('replicas.stopped_at', 'is', null)
        .execute();
      return rows.map((r) => replicaWorkflowId(r.namespace, r.name, r.number));
    },
    listHosts: async () => {
      const rows = await store.selectFrom('hosts').select('id').where('state', '=', 'ready').execute();
      return rows.map((r) => r.id);
    },
    findOrphans: async ({ hostId, containers }) => {
      const alive = await store
        .selectFrom('replicas')
        .select('id')
        .where('host_id', '=', hostId)
        .where('stopped_at', 'is', null)
        .execute();
      const owned = new Set(alive.map((r) => r.id));
      return containers
        .filter((c) => !owned.has(c.replicaId) && Date.now() - c.createdAtMs >= ORPHAN_AGE_MS)
        .map((c) => c.name);
    },
  };
}
