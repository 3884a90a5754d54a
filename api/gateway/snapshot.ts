import { isDomain } from '../../spec/domain.ts';
import type { RoutedEndpoint, RouteSnapshot } from '../../store/snapshot.ts';
import type { TokenEntry } from './authenticate.ts';
import type { Policy } from './policy.ts';

/** An endpoint with what it asks of the gateway; null when it asks for nothing. */
export type Endpoint = RoutedEndpoint & { readonly policy: Policy | null };

/** Makes an endpoint's policy, once per endpoint and snapshot. */
export type Compile = (endpoint: RoutedEndpoint) => Policy | null;

/**
 * All a gateway decides by, as one immutable value. A change makes a new one that takes the old one's place in a single
 * assignment, so a request sees one state from begin to end, and looking something up never waits.
 */
export interface Snapshot {
  /** Newest route version in here; see `store/routes.ts`. */
  readonly version: number;
  /** By `<namespace>/<name>`. */
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  /** Keys of `endpoints` by the domains of their owners; null where nobody has one, as mostly. */
  readonly domains: ReadonlyMap<string, string> | null;
  /** By the hex of the token's SHA-256. */
  readonly tokens: ReadonlyMap<string, TokenEntry>;
}

export function endpointKey(endpoint: { readonly namespace: string; readonly name: string }): string {
  return `${endpoint.namespace}/${endpoint.name}`;
}

/** A snapshot of everything read afresh. */
export function fullSnapshot(
  routes: RouteSnapshot,
  tokens: ReadonlyMap<string, TokenEntry>,
  compile: Compile,
): Snapshot {
  const endpoints = new Map(
    routes.endpoints.filter(exists).map((e) => [endpointKey(e), { ...e, policy: compile(e) }]),
  );
  return { version: routes.version, endpoints, domains: domainsOf(endpoints), tokens };
}

/**
 * The snapshot with some endpoints read again. `ids` are those that were asked for: one that is not among the endpoints
 * read is gone.
 */
export function withEndpoints(
  snapshot: Snapshot,
  routes: RouteSnapshot,
  ids: readonly string[],
  compile: Compile,
): Snapshot {
  const again = new Set([...ids, ...routes.endpoints.map((e) => e.id)]);
  const endpoints = new Map(snapshot.endpoints);
  for (const [key, endpoint] of snapshot.endpoints) if (again.has(endpoint.id)) endpoints.delete(key);
  for (const endpoint of routes.endpoints.filter(exists))
    endpoints.set(endpointKey(endpoint), { ...endpoint, policy: compile(endpoint) });
  const version = Math.max(snapshot.version, routes.version);
  return { ...snapshot, version, endpoints, domains: domainsOf(endpoints) };
}

/**
 * The keys of endpoints by their owners' domains. What was stored before domains were served may be one no more: of two
 * endpoints with the same, neither is found by it.
 */
function domainsOf(endpoints: ReadonlyMap<string, Endpoint>): ReadonlyMap<string, string> | null {
  let domains: Map<string, string> | null = null;
  const disputed = new Set<string>();
  for (const [key, { domain }] of endpoints) {
    if (domain === null || !isDomain(domain)) continue;
    domains ??= new Map();
    if (domains.has(domain)) disputed.add(domain);
    domains.set(domain, key);
  }
  for (const domain of disputed) domains?.delete(domain);
  return domains;
}

/** A deleted endpoint has a row until its workflow has cleared up, but no caller may reach it any more. */
function exists(endpoint: RoutedEndpoint): boolean {
  return endpoint.phase !== 'deleted';
}
