import { EndpointsError } from '../../spec/errors.ts';
import type { Store } from '../../store/database.ts';
import { loadRevision } from '../../store/lifecycle.ts';

/** The frozen revision a replica belongs to. @throws EndpointsError when replica or revision is not stored. */
export async function revisionOf(store: Store, replicaId: string) {
  const replica = await store
    .selectFrom('replicas')
    .select(['endpoint_id', 'revision'])
    .where('id', '=', replicaId)
    .executeTakeFirst();
  const found = replica && (await loadRevision(store, replica.endpoint_id, replica.revision));
  if (!found)
    throw new EndpointsError('NOT_FOUND', `replica ${replicaId} or its revision is not stored any more`);
  return { ...found, endpointId: replica.endpoint_id, revision: replica.revision };
}
