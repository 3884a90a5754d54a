import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Hub } from '../../hub/client.ts';
import type { PlatformConfig, TemporalConfig } from '../../runtime/config.ts';
import type { Scheduler } from '../../runtime/schedules.ts';
import type { Actor } from '../../store/audit.ts';
import type { Store } from '../../store/database.ts';
import type { Vault } from '../../store/secrets.ts';
import type { Notifier } from '../../workflows/start.ts';
import { callerOf } from '../auth/guard.ts';

/** What the control API needs of the Hub. Refusals are `EndpointsError`s with a `HUB_*` code. */
export type ModelSource = Pick<Hub, 'resolveModel' | 'inspectModel'>;

/** Everything the control API works with; the process makes it, tests hand in parts of their own. */
export interface ControlDeps {
  store: Store;
  vault: Vault;
  config: PlatformConfig;
  temporal: Pick<TemporalConfig, 'address' | 'namespace'>;
  hub: ModelSource;
  notify: Notifier;
  schedules: Scheduler;
  /** Base of every endpoint's URL, without a slash at its end; with `{id}` in it, an endpoint's own host. */
  gatewayUrl: string;
  log: FastifyBaseLogger;
}

export type ControlApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

const MAX_USER_AGENT = 512;

/** Who makes this request, as the audit log keeps it. */
export function actorOf(request: FastifyRequest): Actor {
  const { principal } = callerOf(request);
  return {
    userId: principal.userId,
    userName: principal.userName,
    tokenId: principal.tokenId,
    ip: request.ip,
    userAgent: request.headers['user-agent']?.slice(0, MAX_USER_AGENT) ?? null,
    requestId: request.id,
  };
}
