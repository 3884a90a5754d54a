import { z } from 'zod';

/** Two labels or more, the last one not of digits alone: no bare name of a machine and no address. */
const HOST_NAME =
  /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?=[a-z0-9-]*[a-z])[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** `route.domain` of an endpoint: a host name of its owner's. */
export const customDomain = z
  .string()
  .max(253)
  .toLowerCase()
  .regex(
    HOST_NAME,
    "not a domain: write a host name such as 'chat.example.org', without scheme, port, path or dot at the end",
  );

/** Whether it would be taken as a domain, written in lower case. */
export function isDomain(name: string): boolean {
  return HOST_NAME.test(name);
}

/** The names that lead to the gateways as such: an endpoint that had one would get what is meant for others. */
export function gatewayHosts(gateway: {
  domain: string | null;
  publicUrl: string | null;
  ownHosts: readonly string[];
}): ReadonlySet<string> {
  const { domain, publicUrl, ownHosts } = gateway;
  const hosts = [domain, publicUrl && new URL(publicUrl).hostname, ...ownHosts];
  return new Set(hosts.filter((host) => host !== null));
}
