import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { changesOf, needsNewContainers } from '../../../spec/changes.ts';
import {
  type EndpointCreate,
  type EndpointSpec,
  type EndpointWithStatus,
  endpointCreate,
  endpointUpdate,
  endpointWithStatus,
} from '../../../spec/endpoint.ts';
import { EndpointsError } from '../../../spec/errors.ts';
import { mergeUpdate, type OwnersWish } from '../../../spec/normalize.ts';
import {
  changeEndpoint,
  createEndpoint,
  type EndpointChange,
  endpointNotFound,
  readWish,
} from '../../../store/endpoint-writes.ts';
import { findEndpoint, listEndpoints } from '../../../store/endpoints.ts';
import { freeRoom } from '../../../store/hosts.ts';
import { guard } from '../../auth/guard.ts';
import { actorOf, type ControlApp, type ControlDeps } from '../context.ts';
import { decodeCursor, encodeCursor } from '../cursor.ts';
import { remove, update } from '../decisions.ts';
import { headerText } from '../errors.ts';
import { prepareCreate } from '../planning/create.ts';
import type { Decision } from '../planning/decide.ts';
import { checkDomain } from '../planning/domain.ts';
import { presentPlan } from '../planning/present.ts';
import { planSchema } from '../planning/schema.ts';
import { prepareUpdate } from '../planning/update.ts';
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

const mode = z.object({
  dryRun: z.enum(['true', 'false']).default('false').describe('Answers with the plan and changes nothing.'),
});
const endpointOrPlan = z.union([planSchema, endpointWithStatus]);

/** Clients of the public API show this header once per topic. */
function warn(reply: FastifyReply, warnings: readonly string[]): void {
  const warning = warnings.join('; ');
  if (warning) reply.header('x-hf-warning', `model; ${headerText(warning)}`);
}

/** Whether two models need the same files of the same repository. */
function sameFiles(a: EndpointSpec['model'], b: EndpointSpec['model']): boolean {
  return (
    a.repository === b.repository &&
    a.revision === b.revision &&
    JSON.stringify([a.image, a.args, a.env]) === JSON.stringify([b.image, b.args, b.env])
  );
}

/** An endpoint as it is now. @throws EndpointsError NOT_FOUND, also while it is being deleted */
export async function showEndpoint(
  deps: ControlDeps,
  where: { namespace: string; name: string },
): Promise<EndpointWithStatus> {
  const endpoint = await findEndpoint(deps.store, where.namespace, where.name);
  if (!endpoint || endpoint.phase === 'deleted') throw endpointNotFound(where.namespace, where.name);
  return presentEndpoint(endpoint, deps.gatewayUrl);
}

/**
 * Creates an endpoint, whoever wrote the request: its owner, or a recipe of the catalogue.
 * @throws EndpointsError VALIDATION_FAILED, CONFLICT, HUB_*, NO_USABLE_FILE
 */
export async function createFrom(
  deps: ControlDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  namespace: string,
  body: EndpointCreate,
): Promise<EndpointWithStatus> {
  const where = { namespace, name: body.name };
  const { wish, decision } = await prepareCreate(deps, namespace, body, request.log, { planOnly: false });
  const { weights, warnings } = decision;
  await createEndpoint(deps.store, deps.vault, { ...where, wish, weights, actor: actorOf(request) });
  tellWorkflow(deps, where);
  warn(reply, warnings);
  return showEndpoint(deps, where);
}

export function endpointRoutes(app: ControlApp, deps: ControlDeps): void {
  const { store, vault } = deps;
  const { vendors } = deps.config;
  const mayRead = guard(store, 'endpoint.read');
  const mayWrite = guard(store, 'endpoint.write');
  const roomNow = () => freeRoom(store, deps.config.placement.cpuOvercommit);

  const presentUpdate = async (
    name: string,
    seen: OwnersWish,
    expected: OwnersWish,
    decision: Decision | null,
  ) => {
    if (!decision)
      throw new EndpointsError(
        'VALIDATION_FAILED',
        'compute: the instance has left the hardware catalogue, so that there is no plan for it: choose another',
      );
    return {
      ...presentPlan(name, expected.spec, decision, await roomNow()),
      changes: changesOf(seen, expected),
      newContainers: needsNewContainers(seen, expected),
    };
  };

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
      querystring: mode,
      body: endpointCreate,
      response: { 200: endpointOrPlan, ...refusals, 409: errorBody, 413: errorBody },
    },
    handler: async (request, reply) => {
      const { namespace } = request.params;
      if (request.query.dryRun !== 'true') return createFrom(deps, request, reply, namespace, request.body);
      const { wish, decision } = await prepareCreate(deps, namespace, request.body, request.log, {
        planOnly: true,
      });
      return presentPlan(request.body.name, wish.spec, decision, await roomNow());
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
      querystring: mode,
      body: endpointUpdate,
      response: { 200: endpointOrPlan, ...refusalsOfOne, 409: errorBody, 413: errorBody },
    },
    handler: async (request, reply) => {
      const { namespace, name } = request.params;
      // The Hub is asked before the row is locked; what it said is used only if the lock finds the same model.
      const seen = await readWish(store, vault, namespace, name);
      const planOnly = request.query.dryRun === 'true';
      await checkDomain(deps, request.body.route?.domain, request.params);
      const {
        body,
        wish: expected,
        decision,
      } = await prepareUpdate(deps, seen, request.body, request.log, {
        always: planOnly,
      });
      if (planOnly) return presentUpdate(name, seen, expected, decision);
      const where = { namespace, name, actor: actorOf(request) };
      let change: EndpointChange | null = null;
      await changeEndpoint(store, vault, where, (current) => {
        if (current.phase === 'deleted') throw endpointNotFound(namespace, name);
        const wish = mergeUpdate(current.wish, body, vendors);
        const weights = sameFiles(wish.spec.model, expected.spec.model) ? decision?.weights : null;
        change = update(current, wish, weights ?? null);
        return change;
      });
      tellOfChange(deps, where, change);
      warn(reply, decision?.warnings ?? []);
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
