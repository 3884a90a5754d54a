import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';

/** Where readers and generators look for the description: today's path, and the older one. */
const DESCRIPTION_PATHS = ['/openapi.json', '/api-doc/openapi.json'];

/** What zod cannot put into a JSON schema (the result of a transform) is described as anything. */
const zodToJsonConfig = { unrepresentable: 'any' } as const;

/** The API described by itself: OpenAPI 3.1 made from the routes' own schemas. Before any route is added. */
export async function describeApi(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Inference Endpoints',
        version: '2.0.0',
        description:
          'Create, change and watch inference endpoints. Compatible with the public Hugging Face Inference Endpoints API.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: createJsonSchemaTransform({ zodToJsonConfig }),
    transformObject: createJsonSchemaTransformObject({ zodToJsonConfig }),
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });
  for (const url of DESCRIPTION_PATHS)
    app.route({ method: 'GET', url, schema: { hide: true }, handler: async () => app.swagger() });
  app.route({
    method: 'GET',
    url: '/',
    schema: { hide: true },
    handler: async (_request, reply) => reply.redirect('/docs'),
  });
}
