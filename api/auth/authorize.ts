import { EndpointsError } from '../../spec/errors.ts';
import type { Permission, Principal } from '../../spec/permissions.ts';

type MemberRole = 'admin' | 'write' | 'read';

interface Rule {
  /** What the token must carry. */
  permission: Permission;
  /** What the user must be in the namespace. */
  roles: readonly MemberRole[];
}

/** Everything that is done here under a permission; each route names one. */
const RULES = {
  'endpoint.read': { permission: 'inference.endpoints.read', roles: ['admin', 'write', 'read'] },
  'endpoint.write': { permission: 'inference.endpoints.write', roles: ['admin', 'write'] },
  'schedule.read': { permission: 'inference.endpoints.read', roles: ['admin', 'write', 'read'] },
  'schedule.write': { permission: 'inference.endpoints.write', roles: ['admin', 'write'] },
  'hardware.read': { permission: 'inference.endpoints.read', roles: ['admin', 'write', 'read'] },
  'audit.read': { permission: 'inference.endpoints.read', roles: ['admin', 'write'] },
  'host.join': { permission: 'hosts.join', roles: [] },
} as const satisfies Record<string, Rule>;

export type Action = keyof typeof RULES;

/** What is acted on: something in a namespace, or the installation as a whole. */
export type Resource = { namespace: string } | 'installation';

/**
 * Returns when the principal may do this.
 * @throws EndpointsError FORBIDDEN naming the permission the token lacks, or the namespace that is closed to its
 *   user. A namespace that does not exist is refused in the same words as one of somebody else.
 */
export function authorize(principal: Principal, action: Action, resource: Resource): void {
  const rule: Rule = RULES[action];
  if (!principal.permissions.has(rule.permission))
    throw new EndpointsError('FORBIDDEN', `missing permissions: ${rule.permission}`);
  if (resource === 'installation') return;
  const { namespace } = resource;
  const role = principal.memberships.get(namespace);
  if (!role)
    throw new EndpointsError(
      'FORBIDDEN',
      `user '${principal.userName}' is not a member of namespace '${namespace}'`,
    );
  if (!rule.roles.includes(role))
    throw new EndpointsError(
      'FORBIDDEN',
      `user '${principal.userName}' has the role '${role}' in namespace '${namespace}', and this needs ${rule.roles.map((r) => `'${r}'`).join(' or ')}`,
    );
}
