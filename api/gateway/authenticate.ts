import { hash } from 'node:crypto';
import type { Permission, Principal } from '../../spec/permissions.ts';
import type { EndpointType } from '../../spec/states.ts';
import type { Refusal } from './errors.ts';

/** A token that is good until `expiresAt` (milliseconds since the epoch; null: for ever). */
export interface TokenEntry {
  readonly principal: Principal;
  readonly expiresAt: number | null;
}

const NEEDED: Permission = 'inference.endpoints.infer.write';

/**
 * May this request use the endpoint? The id of its token when it may, '' when it needs none. `public` asks nothing, `authenticated` a token that may infer,
 * `private` one whose user belongs to the namespace as well. No I/O: tokens are known by the hex of their SHA-256.
 */
export function authenticate(
  endpoint: { readonly type: EndpointType; readonly namespace: string; readonly name: string },
  authorization: string | undefined,
  tokens: ReadonlyMap<string, TokenEntry>,
  now: number,
): Refusal | string {
  if (endpoint.type === 'public') return '';
  const token = bearer(authorization);
  if (!token)
    return {
      kind: 'unauthorized',
      message: `UNAUTHORIZED: endpoint ${endpoint.namespace}/${endpoint.name} needs a token: send 'Authorization: Bearer <token>'`,
    };
  const entry = known(tokens, token);
  if (!entry || (entry.expiresAt !== null && entry.expiresAt <= now))
    return {
      kind: 'unauthorized',
      message: 'UNAUTHORIZED: the token is unknown, revoked or expired: make a new one',
    };
  if (!entry.principal.permissions.has(NEEDED))
    return { kind: 'forbidden', message: `missing permissions: ${NEEDED}` };
  if (endpoint.type === 'private' && !entry.principal.memberships.has(endpoint.namespace))
    return {
      kind: 'forbidden',
      message: `user ${entry.principal.userName} is not a member of ${endpoint.namespace}, and endpoint ${endpoint.name} is private`,
    };
  return entry.principal.tokenId;
}

/**
 * Tokens that were looked up before, in clear, by the table they were found in: a new table begins anew. Saves most
 * requests the hash. Only found ones are kept, so guessing fills no memory.
 */
const recent = new WeakMap<ReadonlyMap<string, TokenEntry>, Map<string, TokenEntry>>();
const MAX_RECENT = 10_000;

function known(tokens: ReadonlyMap<string, TokenEntry>, token: string): TokenEntry | undefined {
  let found = recent.get(tokens);
  const again = found?.get(token);
  if (again) return again;
  const entry = tokens.get(hash('sha256', token));
  if (!entry) return undefined;
  if (!found || found.size >= MAX_RECENT) {
    found = new Map();
    recent.set(tokens, found);
  }
  found.set(token, entry);
  return entry;
}

/** The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110 §11.1). */
function bearer(authorization: string | undefined): string | null {
  if (authorization === undefined || authorization.length < 8) return null;
  if (authorization.slice(0, 7).toLowerCase() !== 'bearer ') return null;
  return authorization.slice(7).trim();
}
