import { z } from 'zod';
import { needsNewContainers } from '../../../spec/changes.ts';
import {
  type EndpointWithStatus,
  endpointCreate,
  endpointUpdate,
  endpointWithStatus,
} from '../../../spec/endpoint.ts';
import { mergeUpdate, normalizeCreate } from '../../../spec/normalize.ts';
import {
  assertNameFree,
  changeEndpoint,
  createEndpoint,
  type EndpointChange,
  endpointNotFound,
  readWish,
} from '../../../store/endpoint-writes.ts';
import { findEndpoint, listEndpoints } from '../../../store/endpoints.ts';
import { guard } from '../../auth/guard.ts';
import { actorOf, type ControlApp, type ControlDeps } from '../context.ts';
import { decodeCursor, encodeCursor } from '../cursor.ts';
import { remove, update } from '../decisions.ts';
import { assertProvider } from '../hardware.ts';
import { resolveWeights, sameFiles } from '../model.ts';
import { presentEndpoint } from '../present.ts';
import {
  empty,
  endpointList,
  endpointParams,
  errorBody,
  namespaceParams,
  pageLimit,
  refusals,
  refusalsOfOne,
} from '../schemas.ts';
import { tellOfChange, tellWorkflow } from '../tell.ts';

const DEFAULT_LIMIT = 20;

/** An endpoint as it is now. @throws EndpointsError NOT_FOUND, also while it is being deleted */
export async function showEndpoint(
  deps: ControlDeps,
  where: { namespace: string; name: string },
): Promise<EndpointWithStatus> {
  const endpoint = await findEndpoint(deps.store, where.namespace, where.name);
  if (!endpoint || endpoint.phase === 'deleted') throw endpointNotFound(where.namespace, where.name);
  return presentEndpoint(endpoint, deps.gatewayUrl);
}

export function endpointRoutes(app: ControlApp, deps: ControlDeps): void {
  const { store, vault } = deps;
  const { vendors } = deps.config;
  const mayRead = guard(store, 'endpoint.read');
  const mayWrite = guard(store, 'endpoint.write');

  app.route({
    method: 'GET',
    url: '/v2/endpoint/:namespace',
    onRequest: mayRead,
    schema: {
      operationId: 'listEndpoint',
      summary: 'List endpoints; all of them when neither limit nor cursor is given',
      tags: ['endpoint'],
      params: namespaceParams,
      querystring: z.object({
        tags: z.string().optional().describe('Comma-separated; an endpoint must carry all of them.'),
        search: z.string().optional().describe('Part of the name.'),
        cursor: z.string().optional(),
        limit: pageLimit.optional(),
      }),
      response: { 200: endpointList, ...refusals },
    },
    handler: async (request) => {
      const { tags, search, cursor, limit } = request.query;
      const paged = limit !== undefined || cursor !== undefined;
      const pageSize = paged ? (limit ?? DEFAULT_LIMIT) : undefined;
      const found = await listEndpoints(
        store,
        request.params.namespace,
        {
          tags: tags?.split(',').filter(Boolean) ?? [],
          search: search ?? '',
        },
        {
          ...(cursor === undefined ? {} : { after: decodeCursor(cursor) }),
          // One more than asked for tells whether there is another page.
          ...(pageSize === undefined ? {} : { limit: pageSize + 1 }),
        },
      );
      const items = found.slice(0, pageSize);
      const last = items.at(-1);
      return {
        items: items.map((endpoint) => presentEndpoint(endpoint, deps.gatewayUrl)),
        ...(last && found.length > items.length ? { nextCursor: encodeCursor(last.name) } : {}),
      };
    },
  });

  app.route({
    method: 'POST',
    url: '/v2/endpoint/:namespace',
    onRequest: mayWrite,
    schema: {
      operationId: 'createEndpoint',
      summary: 'Create an endpoint',
      tags: ['endpoint'],
      params: namespaceParams,
      body: endpointCreate,
      response: { 200: endpointWithStatus, ...refusals, 409: errorBody, 413: errorBody },
    },
    handler: async (request) => {
      const where = { namespace: request.params.namespace, name: request.body.name };
      const wish = normalizeCreate(request.body, vendors);
      assertProvider(vendors, wish.spec.provider.vendor);
      await assertNameFree(store, where.namespace, where.name);
      const weights = await resolveWeights(deps.hub, wish.spec, vendors, request.log);
      await createEndpoint(store, vault, { ...where, wish, weights, actor: actorOf(request) });
      tellWorkflow(deps, where);
      return showEndpoint(deps, where);
    },
  });

  app.route({
    method: 'GET',
    url: '/v2/endpoint/:namespace/:name',
    onRequest: mayRead,
    schema: {
      operationId: 'getEndpoint',
      summary: 'Read an endpoint',
      tags: ['endpoint'],
      params: endpointParams,
      response: { 200: endpointWithStatus, ...refusalsOfOne },
    },
    handler: (request) => showEndpoint(deps, request.params),
  });

  app.route({
    method: 'PUT',
    url: '/v2/endpoint/:namespace/:name',
    onRequest: mayWrite,
    schema: {
      operationId: 'updateEndpoint',
      summary: 'Change what the body names, and nothing else',
      tags: ['endpoint'],
      params: endpointParams,
      body: endpointUpdate,
      response: { 200: endpointWithStatus, ...refusalsOfOne, 413: errorBody },
    },
    handler: async (request) => {
      const { namespace, name } = request.params;
      // The Hub is asked before the row is locked; what it said is used only if the lock finds the same model.
      const seen = await readWish(store, vault, namespace, name);
      const expected = mergeUpdate(seen, request.body, vendors);
      const weights = needsNewContainers(seen, expected)
        ? await resolveWeights(deps.hub, expected.spec, vendors, request.log)
        : null;
      const where = { namespace, name, actor: actorOf(request) };
      let change: EndpointChange | null = null;
      await changeEndpoint(store, vault, where, (current) => {
        if (current.phase === 'deleted') throw endpointNotFound(namespace, name);
        const wish = mergeUpdate(current.wish, request.body, vendors);
        change = update(current, wish, sameFiles(wish.spec.model, expected.spec.model) ? weights : null);
        return change;
      });
      tellOfChange(deps, where, change);
      return showEndpoint(deps, where);
    },
  });

  app.route({
    method: 'DELETE',
    url: '/v2/endpoint/:namespace/:name',
    onRequest: mayWrite,
    schema: {
      operationId: 'deleteEndpoint',
      summary: 'Delete an endpoint and everything that belongs to it',
      tags: ['endpoint'],
      params: endpointParams,
      response: { 200: empty, ...refusalsOfOne },
    },
    handler: async (request) => {
      const where = { ...request.params, actor: actorOf(request) };
      if (await changeEndpoint(store, vault, where, remove)) tellWorkflow(deps, where);
      return {};
    },
  });
}
