import { randomUUID } from 'node:crypto';
import { EndpointsError } from '../spec/errors.ts';
import { NAMESPACE_NAME } from '../spec/names.ts';
import type { Store } from './database.ts';

export interface User {
  id: string;
  name: string;
  email: string | null;
}

/**
 * Makes sure of a user with a namespace of the same name that they own. Doing it again finds the same user.
 * @throws EndpointsError VALIDATION_FAILED for a bad name, CONFLICT when an organisation has the name
 */
export async function ensureUser(store: Store, name: string): Promise<User> {
  checkName(name);
  return store.transaction().execute(async (trx) => {
    await claimNamespace(trx, name, 'user');
    await trx
      .insertInto('users')
      .values({ id: randomUUID(), name, email: null })
      .onConflict((conflict) => conflict.column('name').doNothing())
      .execute();
    const user = await trx
      .selectFrom('users')
      .select(['id', 'name', 'email'])
      .where('name', '=', name)
      .executeTakeFirstOrThrow();
    await trx
      .insertInto('memberships')
      .values({ user_id: user.id, namespace: name, role: 'admin' })
      .onConflict((conflict) => conflict.columns(['user_id', 'namespace']).doNothing())
      .execute();
    return user;
  });
}

/**
 * Makes sure of an organisation whose admin is `ownerName`.
 * @throws EndpointsError NOT_FOUND without such a user, CONFLICT when a user has the name
 */
export async function ensureOrganization(store: Store, name: string, ownerName: string): Promise<void> {
  checkName(name);
  await store.transaction().execute((trx) => claimNamespace(trx, name, 'organization'));
  await setMembership(store, name, ownerName, 'admin');
}

/** Makes sure of a namespace of this kind. @throws EndpointsError CONFLICT when the name belongs to the other kind */
async function claimNamespace(trx: Store, name: string, kind: 'user' | 'organization'): Promise<void> {
  await trx
    .insertInto('namespaces')
    .values({ name, kind })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
  const namespace = await trx
    .selectFrom('namespaces')
    .select('kind')
    .where('name', '=', name)
    .executeTakeFirstOrThrow();
  if (namespace.kind === kind) return;
  throw new EndpointsError(
    'CONFLICT',
    kind === 'user'
      ? `'${name}' is an organisation: choose another user name`
      : `'${name}' is a user: choose another organisation name`,
  );
}

/** Gives a user a role in a namespace, in place of the one they had. @throws EndpointsError NOT_FOUND */
export async function setMembership(
  store: Store,
  namespace: string,
  userName: string,
  role: 'admin' | 'write' | 'read',
): Promise<void> {
  const user = await findUser(store, userName);
  await store
    .insertInto('memberships')
    .values({ user_id: user.id, namespace, role })
    .onConflict((conflict) => conflict.columns(['user_id', 'namespace']).doUpdateSet({ role }))
    .execute();
}

/** @throws EndpointsError NOT_FOUND */
export async function findUser(store: Store, name: string): Promise<User> {
  const user = await store
    .selectFrom('users')
    .select(['id', 'name', 'email'])
    .where('name', '=', name)
    .executeTakeFirst();
  if (!user) throw new EndpointsError('NOT_FOUND', `user '${name}' does not exist`);
  return user;
}

function checkName(name: string): void {
  if (!NAMESPACE_NAME.test(name))
    throw new EndpointsError(
      'VALIDATION_FAILED',
      `'${name}' is not a name: use letters, digits, '-', '_' and '.', 1 to 96, beginning and ending with a letter or digit`,
    );
}
