import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { EndpointsError } from '../spec/errors.ts';
import { PERMISSIONS, type Permission, type Principal, ROLES, type Role } from '../spec/permissions.ts';
import type { Store } from './database.ts';
import { findUser } from './namespaces.ts';

/** Tokens are 192 random bits, which nobody finds by trying, so a plain SHA-256 protects them; only that is stored. */
const TOKEN_BYTES = 24;

export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/**
 * Makes a token for a user. The text is given once and kept nowhere.
 * @throws EndpointsError NOT_FOUND without such a user
 */
export async function createToken(
  store: Store,
  input: { userName: string; name: string; role: Role; expiresAt?: Date },
): Promise<{ id: string; token: string }> {
  const user = await findUser(store, input.userName);
  const token = `hf_${randomBytes(TOKEN_BYTES).toString('hex')}`;
  const id = randomUUID();
  await store
    .insertInto('tokens')
    .values({
      id,
      user_id: user.id,
      name: input.name,
      sha256: hashToken(token),
      last4: token.slice(-4),
      permissions: [...ROLES[input.role]],
      expires_at: input.expiresAt ?? null,
    })
    .execute();
  return { id, token };
}

export interface TokenInfo {
  id: string;
  userName: string;
  name: string;
  last4: string;
  permissions: string[];
  createdAt: Date;
  expiresAt: Date | null;
  revokedAt: Date | null;
}

/** All tokens ever made, newest first, of one user or of everyone. */
export async function listTokens(store: Store, userName?: string): Promise<TokenInfo[]> {
  let query = store
    .selectFrom('tokens as t')
    .innerJoin('users as u', 'u.id', 't.user_id')
    .select([
      't.id',
      'u.name as userName',
      't.name',
      't.last4',
      't.permissions',
      't.created_at as createdAt',
      't.expires_at as expiresAt',
      't.revoked_at as revokedAt',
    ])
    .orderBy('t.created_at', 'desc');
  if (userName !== undefined) query = query.where('u.name', '=', userName);
  return query.execute();
}

/** From now on the token opens nothing. Revoking it again changes nothing. @throws EndpointsError NOT_FOUND */
export async function revokeToken(store: Store, id: string): Promise<void> {
  const { numUpdatedRows } = await store
    .updateTable('tokens')
    .set({ revoked_at: sql<Date>`coalesce(revoked_at, now())` })
    .where(sql<boolean>`id::text = ${id}`)
    .executeTakeFirst();
  if (numUpdatedRows === 0n) throw new EndpointsError('NOT_FOUND', `token '${id}' does not exist`);
}

export interface KnownToken {
  principal: Principal;
  /** Milliseconds since the epoch; null when it does not expire. */
  expiresAt: number | null;
  /** As the owner called it when it was made. */
  tokenName: string;
  createdAt: Date;
}

/** Who a token speaks for; null when it is unknown, revoked or expired. */
export async function findPrincipal(store: Store, sha256: Buffer): Promise<KnownToken | null> {
  const row = await selectLive(store).where('t.sha256', '=', sha256).executeTakeFirst();
  return row ? known(row) : null;
}

/** Every token that is good now, by the hex of its SHA-256. Whoever keeps the map must mind `expiresAt`. */
export async function loadPrincipals(store: Store): Promise<Map<string, KnownToken>> {
  const rows = await selectLive(store).execute();
  return new Map(rows.map((row) => [row.sha256.toString('hex'), known(row)]));
}

function selectLive(store: Store) {
  return store
    .selectFrom('tokens as t')
    .innerJoin('users as u', 'u.id', 't.user_id')
    .select(['t.id', 't.name', 't.sha256', 't.permissions', 't.created_at', 't.expires_at', 't.user_id'])
    .select('u.name as user_name')
    .select(
      sql<Record<string, 'admin' | 'write' | 'read'>>`coalesce(
        (SELECT jsonb_object_agg(m.namespace, m.role) FROM memberships m WHERE m.user_id = t.user_id), '{}')`.as(
        'memberships',
      ),
    )
    .where('t.revoked_at', 'is', null)
    .where((eb) => eb.or([eb('t.expires_at', 'is', null), eb('t.expires_at', '>', sql<Date>`now()`)]));
}

type Row = Awaited<ReturnType<ReturnType<typeof selectLive>['execute']>>[number];

function known(row: Row): KnownToken {
  return {
    principal: {
      userId: row.user_id,
      userName: row.user_name,
      tokenId: row.id,
      permissions: new Set(row.permissions.filter(isPermission)),
      memberships: new Map(Object.entries(row.memberships)),
    },
    expiresAt: row.expires_at?.getTime() ?? null,
    tokenName: row.name,
    createdAt: row.created_at,
  };
}

function isPermission(text: string): text is Permission {
  return PERMISSIONS.some((permission) => permission === text);
}
