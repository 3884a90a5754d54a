import { engineFor } from '../../engines/index.ts';
import type { EndpointWithStatus } from '../../spec/endpoint.ts';
import { computeId } from '../../spec/hardware.ts';
import { hostLabel } from '../../spec/names.ts';
import type { EndpointState } from '../../spec/states.ts';
import type { StoredEndpoint } from '../../store/endpoints.ts';

/** States in which what a starting replica says of itself is the better status message. */
const ON_THE_WAY: readonly EndpointState[] = ['pending', 'initializing', 'updating'];

/** By host name where the site has a domain (`gatewayUrl` has `{id}` in it then), else by path. */
function endpointUrl({ id, namespace, name }: StoredEndpoint, gatewayUrl: string): string {
  return gatewayUrl.includes('{id}')
    ? gatewayUrl.replace('{id}', hostLabel(id))
    : `${gatewayUrl}/${namespace}/${name}`;
}

/** An endpoint as the public API shows it. Nothing secret is in it: the store keeps that apart. */
export function presentEndpoint(endpoint: StoredEndpoint, gatewayUrl: string): EndpointWithStatus {
  const { spec } = endpoint;
  const { engine, settings } = engineFor(spec.model.image);
  // A pause holds from the moment it is written, also while its replicas still drain.
  const paused = endpoint.phase === 'paused';
  const { instanceType: type, instanceSize: size } = spec.compute;
  return {
    name: endpoint.name,
    type: spec.type,
    provider: spec.provider,
    compute: {
      id: computeId(spec.provider.vendor, spec.provider.region, { type, size }),
      ...spec.compute,
    },
    model: {
      repository: spec.model.repository,
      framework: spec.model.framework,
      image: { ...spec.model.image },
      revision: spec.model.revision,
      task: spec.model.task,
      env: spec.model.env,
      secrets: Object.fromEntries(spec.model.secretNames.map((name) => [name, ''])),
      command: spec.model.command,
      args: spec.model.args,
      fromCatalog: spec.model.fromCatalog,
    },
    tags: spec.tags,
    // Clients put it behind the URL, so there must always be one to ask.
    healthRoute: engine.healthRoute(settings) ?? '/',
    route: spec.route,
    cacheHttpResponses: spec.cacheHttpResponses,
    experimentalFeatures: spec.experimentalFeatures,
    gateway: spec.gateway ?? {},
    notifications: {},
    privateService: null,
    network: null,
    status: {
      state: paused ? 'paused' : endpoint.state,
      message:
        endpoint.progress && !paused && ON_THE_WAY.includes(endpoint.state)
          ? endpoint.progress
          : endpoint.message,
      errorMessage: endpoint.errorMessage,
      url: paused ? null : endpointUrl(endpoint, gatewayUrl),
      readyReplica: paused ? 0 : endpoint.readyReplica,
      targetReplica: paused ? 0 : endpoint.targetReplica,
      createdAt: endpoint.createdAt.toISOString(),
      updatedAt: endpoint.updatedAt.toISOString(),
      createdBy: endpoint.createdBy,
      updatedBy: endpoint.updatedBy,
      lastUsedAt: endpoint.lastUsedAt?.toISOString() ?? null,
      private: null,
    },
  };
}
