import { sql } from 'kysely';
import { variantOf } from '../spec/images.ts';
import type { Store } from './database.ts';

/**
 * Images that an endpoint may start at any time: of the wanted revision of every endpoint, asleep or paused too, and of
 * the revisions whose replicas run. As written and, where it is pinned, exactly.
 */
export async function liveImages(store: Store): Promise<string[]> {
  const rows = await store
    .selectFrom('revisions as r')
    .innerJoin('endpoints as e', 'e.id', 'r.endpoint_id')
    .select(['r.image', 'r.spec'])
    .where('e.phase', '<>', 'deleted')
    .where((eb) =>
      eb.or([
        eb('r.revision', '=', eb.ref('e.revision')),
        eb.exists(
          eb
            .selectFrom('replicas as p')
            .select(sql`1`.as('one'))
            .whereRef('p.endpoint_id', '=', 'r.endpoint_id')
            .whereRef('p.revision', '=', 'r.revision')
            .where('p.stopped_at', 'is', null),
        ),
      ]),
    )
    .execute();
  const images = rows.flatMap(({ image, spec }) => {
    const { settings } = variantOf(spec.model.image);
    return [image, 'url' in settings ? settings.url : null];
  });
  return [...new Set(images.filter((image) => image !== null))].sort();
}
