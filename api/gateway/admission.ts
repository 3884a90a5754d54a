import type { RoutedEndpoint } from '../../store/snapshot.ts';
import { parseAddress } from './address.ts';
import { hasAddress } from './addresses.ts';
import { authenticate } from './authenticate.ts';
import type { Refusal } from './errors.ts';
import { type Endpoint, endpointKey, type Snapshot } from './snapshot.ts';

export type Admission =
  | {
      readonly ok: true;
      readonly endpoint: Endpoint;
      readonly path: string;
      /** '' when the endpoint asks for none. */
      readonly tokenId: string;
    }
  | { readonly ok: false; readonly refusal: Refusal };

/**
 * Whether a request may go to an endpoint: address, then the client's own address, then token, then state. Synchronous:
 * a known route and token are decided without waiting for anything. `peer` is called only where it matters.
 */
export function admit(
  snapshot: Snapshot | null,
  target: string,
  authorization: string | undefined,
  peer: () => string,
  hasReady: (endpointId: string) => boolean,
): Admission {
  if (snapshot === null)
    return no('unavailable', 'the gateway has not read its routes yet: the store is not there; try again');
  const address = parseAddress(target);
  if (typeof address === 'string') return no('badRequest', address);
  const endpoint = snapshot.endpoints.get(address.key);
  if (!endpoint) return no('notFound', `endpoint ${address.key} does not exist`);
  const allowedIps = endpoint.policy?.allowedIps;
  if (allowedIps && !hasAddress(allowedIps, peer()))
    return no(
      'forbidden',
      `endpoint ${address.key} may not be used from ${peer()}: ask its owner to allow it`,
    );
  const tokenId = authenticate(endpoint, authorization, snapshot.tokens, Date.now());
  if (typeof tokenId !== 'string') return { ok: false, refusal: tokenId };
  const refusal = hopeless(endpoint, hasReady(endpoint.id));
  return refusal ? { ok: false, refusal } : { ok: true, endpoint, path: address.path, tokenId };
}

/** Why no request will be answered in this state however long it waits; null when it may be. */
export function hopeless(endpoint: RoutedEndpoint, hasReady: boolean): Refusal | null {
  const { state } = endpoint;
  // The owner's word counts at once, before the workflow has acted on it.
  if (endpoint.phase === 'paused')
    return {
      kind: 'paused',
      message: `Bad Request: Invalid state: endpoint ${endpointKey(endpoint)} is paused; resume it to use it`,
      state: 'paused',
    };
  if (state === 'failed' && !hasReady)
    return {
      kind: 'failed',
      message: `endpoint ${endpointKey(endpoint)} has failed: ${endpoint.errorMessage ?? 'no cause is recorded'}; update or resume it`,
      state,
    };
  return null;
}

function no(kind: Refusal['kind'], message: string): Admission {
  return { ok: false, refusal: { kind, message } };
}
