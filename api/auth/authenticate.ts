import { EndpointsError } from '../../spec/errors.ts';
import type { Store } from '../../store/database.ts';
import { findPrincipal, hashToken, type KnownToken } from '../../store/tokens.ts';
import { bearerToken } from './bearer.ts';

/**
 * Whom an `Authorization` header speaks for, asked of the store every time so that a revoked token ends at once.
 * @throws EndpointsError UNAUTHORIZED for no token, or one that is unknown, expired or revoked (which of the three is
 *   not told: it would say whether a guessed token exists)
 */
export async function authenticate(store: Store, header: string | undefined): Promise<KnownToken> {
  const token = bearerToken(header);
  if (!token)
    throw new EndpointsError(
      'UNAUTHORIZED',
      "no token: send 'Authorization: Bearer <token>'; 'endpoints token create' makes one",
    );
  const known = await findPrincipal(store, hashToken(token));
  if (!known)
    throw new EndpointsError('UNAUTHORIZED', 'this token is unknown, expired or revoked: use another one');
  return known;
}
