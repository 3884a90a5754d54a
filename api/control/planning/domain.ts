import { gatewayHosts } from '../../../spec/domain.ts';
import { EndpointsError } from '../../../spec/errors.ts';
import { assertDomainFree } from '../../../store/domains.ts';
import type { ControlDeps } from '../context.ts';

/**
 * Refuses a domain that an endpoint cannot get, before anybody waits for the Hub. Absent and null ask for none.
 * @throws EndpointsError VALIDATION_FAILED, CONFLICT
 */
export async function checkDomain(
  { store, config }: Pick<ControlDeps, 'store' | 'config'>,
  domain: string | null | undefined,
  owner: { namespace: string; name: string },
): Promise<void> {
  if (!domain) return;
  const { gateway } = config;
  if (gatewayHosts(gateway).has(domain) || (gateway.domain !== null && domain.endsWith(`.${gateway.domain}`)))
    throw new EndpointsError(
      'VALIDATION_FAILED',
      `route.domain: '${domain}' leads to the gateways of this site: give a domain of your own that points to them`,
    );
  await assertDomainFree(store, domain, owner);
}
