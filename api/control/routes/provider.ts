import { countReplicasByInstance } from '../../../store/endpoints.ts';
import { freeRoom } from '../../../store/hosts.ts';
import { guard } from '../../auth/guard.ts';
import type { ControlApp, ControlDeps } from '../context.ts';
import { presentHardware } from '../hardware.ts';
import { namespaceParams, refusals, vendors } from '../schemas.ts';

export function providerRoutes(app: ControlApp, deps: ControlDeps): void {
  const { store, config } = deps;

  app.route({
    method: 'GET',
    url: '/v2/provider',
    schema: {
      operationId: 'listVendors',
      summary: 'The price list; needs no token',
      tags: ['provider'],
      security: [],
      response: { 200: vendors },
    },
    handler: async () => presentHardware(config.vendors, null),
  });

  app.route({
    method: 'GET',
    url: '/v2/provider/:namespace',
    onRequest: guard(store, 'hardware.read'),
    schema: {
      operationId: 'listVendorsOfNamespace',
      summary: 'Hardware, with what the namespace uses and could use',
      tags: ['provider'],
      params: namespaceParams,
      response: { 200: vendors, ...refusals },
    },
    handler: async (request) => {
      const [used, room] = await Promise.all([
        countReplicasByInstance(store, request.params.namespace),
        freeRoom(store, config.placement.cpuOvercommit),
      ]);
      return presentHardware(config.vendors, { used, room });
    },
  });
}
