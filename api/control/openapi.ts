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
  let description: Description | undefined;
  for (const url of DESCRIPTION_PATHS)
    app.route({
      method: 'GET',
      url,
      schema: { hide: true },
      handler: async () => {
        description ??= withoutUnused(app.swagger() as Description);
        return description;
      },
    });
  app.route({
    method: 'GET',
    url: '/',
    schema: { hide: true },
    handler: async (_request, reply) => reply.redirect('/docs'),
  });
}

interface Description {
  paths?: object;
  components?: { schemas?: Record<string, unknown> };
}

/**
 * Each schema is described twice, as it is read and as it is written (`…Input`), though most are used one way only. Keeps
 * those that something refers to, and gives one that is only written its plain name.
 */
function withoutUnused(full: Description): Description {
  const schemas = full.components?.schemas ?? {};
  const used = new Set<string>();
  const visit = (node: unknown) => {
    for (const [, name] of JSON.stringify(node ?? null).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (name === undefined || used.has(name)) continue;
      used.add(name);
      visit(schemas[name]);
    }
  };
  visit(full.paths);
  const plainName = (name: string) => {
    const plain = name.replace(/Input$/, '');
    return used.has(plain) ? name : plain;
  };
  const kept = Object.fromEntries([...used].sort().map((name) => [plainName(name), schemas[name]]));
  const text = JSON.stringify({ ...full, components: { ...full.components, schemas: kept } });
  return JSON.parse(
    text.replaceAll(
      /"#\/components\/schemas\/(\w+)"/g,
      (_, name: string) => `"#/components/schemas/${plainName(name)}"`,
    ),
  ) as Description;
}
