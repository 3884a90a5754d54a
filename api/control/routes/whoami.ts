import { callerOf, guard } from '../../auth/guard.ts';
import type { ControlApp, ControlDeps } from '../context.ts';
import { refusals, whoami } from '../schemas.ts';

/** The Hub's identity route, which clients ask before every call that names no namespace. */
export function whoamiRoutes(app: ControlApp, deps: ControlDeps): void {
  app.route({
    method: 'GET',
    url: '/api/whoami-v2',
    onRequest: guard(deps.store, null),
    schema: {
      operationId: 'whoami',
      summary: 'Whom the token speaks for',
      tags: ['identity'],
      response: { 200: whoami, ...refusals },
    },
    handler: async (request) => {
      const { principal, tokenName, createdAt } = callerOf(request);
      const writes = principal.permissions.has('inference.endpoints.write');
      return {
        type: 'user' as const,
        id: principal.userId,
        name: principal.userName,
        fullname: principal.userName,
        email: null,
        emailVerified: false,
        isPro: false,
        canPay: false,
        avatarUrl: '',
        orgs: [...principal.memberships]
          .filter(([namespace]) => namespace !== principal.userName)
          .map(([name, roleInOrg]) => ({ type: 'org' as const, name, fullname: name, roleInOrg })),
        auth: {
          type: 'access_token' as const,
          accessToken: {
            displayName: tokenName,
            role: writes ? 'write' : 'read',
            createdAt: createdAt.toISOString(),
          },
        },
      };
    },
  });
}
