import { sql, type Transaction } from 'kysely';
import type { EndpointSpec } from '../spec/endpoint.ts';
import { EndpointsError } from '../spec/errors.ts';
import type { Store } from './database.ts';
import type { Database } from './schema.ts';

interface Owner {
  namespace: string;
  name: string;
}

/** @throws EndpointsError CONFLICT when another endpoint has this domain; one that is being deleted has none any more */
export async function assertDomainFree(store: Store, domain: string, owner: Owner): Promise<void> {
  const { namespace, name } = owner;
  const { rows } = await sql<Owner>`
    SELECT namespace, name FROM endpoints
    WHERE lower(spec #>> '{route,domain}') = ${domain} AND phase <> 'deleted'
      AND NOT (namespace = ${namespace} AND name = ${name}) LIMIT 1`.execute(store);
  const [other] = rows;
  if (!other) return;
  const who = other.namespace === namespace ? `endpoint '${namespace}/${other.name}'` : 'another endpoint';
  throw new EndpointsError(
    'CONFLICT',
    `route.domain: '${domain}' is the domain of ${who} already: take it away there first, or choose another one`,
  );
}

/**
 * Part of the write that gives an endpoint its domain: of two that want the same at once, the second is refused. What
 * was stored before stays, also where it would be refused today.
 * @throws EndpointsError CONFLICT
 */
export async function claimDomain(
  trx: Transaction<Database>,
  before: EndpointSpec | null,
  after: EndpointSpec,
  owner: Owner,
): Promise<void> {
  const domain = domainOf(after);
  if (domain === null || domain === domainOf(before)) return;
  await sql`SELECT pg_advisory_xact_lock(hashtext('route.domain'))`.execute(trx);
  await assertDomainFree(trx, domain, owner);
}

function domainOf(spec: EndpointSpec | null): string | null {
  return spec?.route?.domain?.toLowerCase() ?? null;
}
