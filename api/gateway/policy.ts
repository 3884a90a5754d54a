import type { BlockList } from 'node:net';
import type { GatewaySettings, RateSettings, SessionSettings } from '../../spec/gateway.ts';
import type { RoutedEndpoint } from '../../store/snapshot.ts';
import { addressSet } from './addresses.ts';

/** Limits in force; null is none. */
export interface Rates {
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
  readonly concurrentRequests: number | null;
}

/** What an endpoint asks of the gateway besides handing requests on, made ready for use once per snapshot. */
export interface Policy {
  readonly limits: Rates | null;
  readonly tokenLimits: Rates | null;
  readonly maxBodyBytes: number | null;
  readonly allowedIps: BlockList | null;
  readonly session: SessionSettings | null;
  readonly cache: true | null;
  readonly timeouts: Timeouts | null;
  readonly holdComments: true | null;
  /** Origins of web pages, `*` for all. */
  readonly cors: ReadonlySet<string> | null;
}

/** Null is as long as it takes. */
export interface Timeouts {
  readonly firstByteMs: number | null;
  readonly idleMs: number | null;
  readonly totalMs: number | null;
}

/** Null when the endpoint asks for nothing, as most do: then a request costs one comparison. */
export function compilePolicy(
  { gateway: settings, cacheResponses }: Pick<RoutedEndpoint, 'gateway' | 'cacheResponses'>,
  site: GatewaySettings,
): Policy | null {
  const limits = { ...site.limits, ...defined(settings?.limits) };
  const allowedIps = settings?.allowedIps ?? site.allowedIps;
  const cors = settings?.cors ?? site.cors;
  const policy: Policy = {
    limits: rates(limits),
    tokenLimits: rates({ ...site.tokenLimits, ...defined(settings?.tokenLimits) }),
    maxBodyBytes: limits.maxBodyBytes ?? null,
    allowedIps: allowedIps ? addressSet(allowedIps) : null,
    session: settings?.session ?? site.session ?? null,
    cache: cacheResponses ? true : null,
    timeouts: timeouts({ ...site.timeouts, ...defined(settings?.timeouts) }),
    holdComments: (settings?.holdComments ?? site.holdComments) ? true : null,
    cors: cors ? new Set(cors.origins) : null,
  };
  return Object.values(policy).some((value) => value !== null) ? policy : null;
}

function rates(given: RateSettings): Rates | null {
  const { requestsPerMinute = null, tokensPerMinute = null, concurrentRequests = null } = given;
  const none = requestsPerMinute === null && tokensPerMinute === null && concurrentRequests === null;
  return none ? null : { requestsPerMinute, tokensPerMinute, concurrentRequests };
}

function timeouts(given: NonNullable<GatewaySettings['timeouts']>): Timeouts | null {
  const [firstByteMs, idleMs, totalMs] = [given.firstByteSeconds, given.idleSeconds, given.totalSeconds].map(
    (seconds) => (seconds ? seconds * 1000 : null),
  ) as [number | null, number | null, number | null];
  return firstByteMs === null && idleMs === null && totalMs === null
    ? null
    : { firstByteMs, idleMs, totalMs };
}

/** Absent values must not hide the site's. */
function defined<T extends object>(settings: T | null | undefined): Partial<T> {
  return Object.fromEntries(
    Object.entries(settings ?? {}).filter(([, value]) => value !== undefined),
  ) as Partial<T>;
}
