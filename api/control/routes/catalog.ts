import { randomInt } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type Choice, listModels, nameFor, recipeById, recipeFor } from '../../../catalog/choose.ts';
import { loadCatalog } from '../../../catalog/load.ts';
import { endpointWithStatus } from '../../../spec/endpoint.ts';
import { authorize } from '../../auth/authorize.ts';
import { callerOf, guard } from '../../auth/guard.ts';
import { bodyOf, presentModel } from '../catalog.ts';
import type { ControlApp, ControlDeps } from '../context.ts';
import { errorBody, pageLimit, refusals } from '../schemas.ts';
import { createFrom } from './endpoints.ts';

const namespace = z.string().min(1).max(96);
const accelerator = z.string().min(1).max(32).nullish();
const deployed = z.object({ endpoint: endpointWithStatus });
const answers = { 200: deployed, ...refusals, 404: errorBody, 409: errorBody };

const recipe = z.object({
  publicId: z.string(),
  accelerator: z.string(),
  engineType: z.string(),
  ggufFile: z.string().optional(),
  revision: z.string().optional(),
  instanceType: z.string(),
  instanceSize: z.string(),
  reason: z.string(),
  missing: z
    .string()
    .nullable()
    .describe('Why it cannot be deployed here, and what to do; null when it can.'),
});
const catalogList = z
  .object({
    items: z.array(
      z.object({
        repoId: z.string(),
        modelName: z.string(),
        authorName: z.string(),
        license: z.string(),
        task: z.string(),
        createdAt: z.string(),
        recipes: z.array(recipe),
      }),
    ),
  })
  .meta({ id: 'CatalogList' });
/** The second form's bodies, since client 2.4.0. */
const config = z.object({ name: z.string().min(1).nullish() }).nullish();

/** Endpoints from tried recipes, by the public catalogue's addresses: those before client 2.4.0 and those since. */
export function catalogRoutes(app: ControlApp, deps: ControlDeps): void {
  const models = loadCatalog();
  const { vendors } = deps.config;
  const anyToken = guard(deps.store, null);
  const tags = ['catalog'];

  /** The namespace is in the body here, which the guard of the route does not see. */
  async function deploy(
    request: FastifyRequest,
    reply: FastifyReply,
    to: { namespace: string; name: string | null | undefined },
    choose: () => Choice,
  ) {
    authorize(callerOf(request).principal, 'endpoint.write', { namespace: to.namespace });
    const choice = choose();
    const name =
      to.name ??
      nameFor(
        choice.model,
        randomInt(36 ** 3)
          .toString(36)
          .padStart(3, '0'),
      );
    const endpoint = await createFrom(deps, request, reply, to.namespace, bodyOf(choice, name, vendors));
    return { endpoint };
  }

  app.route({
    method: 'GET',
    url: '/api/catalog/repo-list',
    onRequest: anyToken,
    schema: {
      operationId: 'listCatalogRepositories',
      summary: 'Names of the models there are recipes for (clients before 2.4.0)',
      tags,
      response: { 200: z.object({ models: z.array(z.string()) }), ...refusals },
    },
    handler: async () => ({ models: models.map(({ repository }) => repository) }),
  });

  app.route({
    method: 'POST',
    url: '/api/catalog/deploy',
    onRequest: anyToken,
    schema: {
      operationId: 'deployFromCatalog',
      summary: "Create an endpoint by a model's recipe (clients before 2.4.0)",
      tags,
      body: z.object({ namespace, repoId: z.string(), endpointName: z.string().nullish(), accelerator }),
      response: answers,
    },
    handler: (request, reply) => {
      const { namespace, repoId, endpointName, accelerator } = request.body;
      return deploy(request, reply, { namespace, name: endpointName }, () =>
        recipeFor(models, { repository: repoId, accelerator: accelerator ?? undefined }, vendors),
      );
    },
  });

  app.route({
    method: 'GET',
    url: '/api/v1/catalog/list',
    onRequest: anyToken,
    schema: {
      operationId: 'listCatalog',
      summary: 'Models there are recipes for, with the recipes',
      tags,
      querystring: z.object({
        accelerator: z.string().optional(),
        engine: z.string().optional(),
        license: z.string().optional(),
        task: z.string().optional(),
        search: z.string().optional().describe('Part of the name.'),
        limit: pageLimit.optional(),
      }),
      response: { 200: catalogList, ...refusals },
    },
    handler: async (request) => {
      const { limit, ...filter } = request.query;
      return {
        items: listModels(models, filter)
          .slice(0, limit)
          .map((model) => presentModel(model, vendors)),
      };
    },
  });

  app.route({
    method: 'POST',
    url: '/api/v1/catalog/model/:owner/:repository/deploy',
    onRequest: anyToken,
    schema: {
      operationId: 'deployCatalogModel',
      summary: "Create an endpoint by a model's recipe: its default one, or the one that is narrowed down to",
      tags,
      params: z.object({ owner: z.string(), repository: z.string() }),
      body: z.object({ namespace, config, accelerator, ggufFile: z.string().nullish() }),
      response: answers,
    },
    handler: (request, reply) => {
      const { namespace, config, accelerator, ggufFile } = request.body;
      const repository = `${request.params.owner}/${request.params.repository}`;
      const want = { repository, accelerator: accelerator ?? undefined, ggufFile: ggufFile ?? undefined };
      return deploy(request, reply, { namespace, name: config?.name }, () =>
        recipeFor(models, want, vendors),
      );
    },
  });

  app.route({
    method: 'POST',
    url: '/api/v1/catalog/recipe/:publicId/deploy',
    onRequest: anyToken,
    schema: {
      operationId: 'deployCatalogRecipe',
      summary: 'Create an endpoint by this very recipe',
      tags,
      params: z.object({ publicId: z.string() }),
      body: z.object({ namespace, config }),
      response: answers,
    },
    handler: (request, reply) => {
      const { namespace, config } = request.body;
      return deploy(request, reply, { namespace, name: config?.name }, () =>
        recipeById(models, request.params.publicId),
      );
    },
  });
}
