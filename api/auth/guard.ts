import type { FastifyRequest } from 'fastify';
import type { Store } from '../../store/database.ts';
import type { KnownToken } from '../../store/tokens.ts';
import { authenticate } from './authenticate.ts';
import { type Action, authorize } from './authorize.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls; set by the guard of the route. */
    caller: KnownToken | null;
  }
}

/**
 * A hook that lets only callers in who may do `action` in the namespace the path names (or, where it names none, in the
 * installation). `null`: any good token. It runs before the body is read, so that nobody unknown can make us read one.
 */
export function guard(store: Store, action: Action | null): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    request.caller = await authenticate(store, request.headers.authorization);
    if (action) authorize(request.caller.principal, action, resourceOf(request.params));
  };
}

function resourceOf(params: unknown): { namespace: string } | 'installation' {
  if (typeof params !== 'object' || params === null || !('namespace' in params)) return 'installation';
  return { namespace: String(params.namespace) };
}

/** The caller a guard let in. */
export function callerOf(request: FastifyRequest): KnownToken {
  if (!request.caller) throw new Error(`route ${request.routeOptions.url} has no guard`);
  return request.caller;
}
