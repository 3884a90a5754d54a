import { hostLabel } from '../../spec/names.ts';
import { type Endpoint, endpointKey } from './snapshot.ts';

/**
 * Endpoints by what stands before the site's domain: the first 24 digits of their id, and `<name>.<namespace>`. Names of
 * hosts know no upper case; of two namespaces that differ in that alone, neither is found by its name.
 */
type Table = ReadonlyMap<string, Endpoint | null>;

const tables = new WeakMap<ReadonlyMap<string, Endpoint>, Table>();

/** One table per snapshot, made when it is first asked. */
function tableOf(endpoints: ReadonlyMap<string, Endpoint>): Table {
  const known = tables.get(endpoints);
  if (known) return known;
  const table = new Map<string, Endpoint | null>();
  for (const endpoint of endpoints.values()) {
    table.set(hostLabel(endpoint.id), endpoint);
    const name = `${endpoint.name}.${endpoint.namespace}`.toLowerCase();
    table.set(name, table.has(name) ? null : endpoint);
  }
  tables.set(endpoints, table);
  return table;
}

/**
 * The key of the endpoint whose owner's domain a `Host` header names; null when there is none, or when the name leads to
 * the gateways as such: it may have been given away before the site said so.
 */
export function endpointOf(
  host: string | undefined,
  domains: ReadonlyMap<string, string>,
  gatewayHosts: ReadonlySet<string>,
): string | null {
  if (host === undefined) return null;
  const name = nameOf(host);
  return gatewayHosts.has(name) ? null : (domains.get(name) ?? null);
}

/** A `Host` header without its port, and without the dot that may end a name. */
function nameOf(host: string): string {
  return host.toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '');
}

/** What a `Host` header has before the domain, in lower case; null when it is no host below the domain. */
export function labelOf(host: string | undefined, domain: string): string | null {
  if (host === undefined) return null;
  const name = nameOf(host);
  if (!name.endsWith(domain) || name.length <= domain.length + 1) return null;
  return name.charAt(name.length - domain.length - 1) === '.' ? name.slice(0, -domain.length - 1) : null;
}

/** The key of the endpoint with this label; null when there is none. */
export function endpointAt(label: string, endpoints: ReadonlyMap<string, Endpoint>): string | null {
  const endpoint = tableOf(endpoints).get(label);
  return endpoint ? endpointKey(endpoint) : null;
}
