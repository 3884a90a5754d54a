import type { Store } from './database.ts';

/** The id that tells this installation's containers from another's on the same Docker engine. */
export async function readInstallation(store: Store): Promise<string> {
  const row = await store.selectFrom('installation').select('id').executeTakeFirstOrThrow();
  return row.id;
}
