import { randomUUID } from 'node:crypto';
import Fastify, { type FastifyInstance, LogController } from 'fastify';
import { serializerCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import type { ControlDeps } from './context.ts';
import { answerError, answerUnknownRoute } from './errors.ts';
import { acceptEmptyJson } from './json-body.ts';
import { describeApi } from './openapi.ts';
import { auditRoutes } from './routes/audit.ts';
import { catalogRoutes } from './routes/catalog.ts';
import { endpointRoutes } from './routes/endpoints.ts';
import { healthRoutes } from './routes/health.ts';
import { hostRoutes } from './routes/hosts.ts';
import { lifecycleRoutes } from './routes/lifecycle.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { providerRoutes } from './routes/provider.ts';
import { recommendRoutes } from './routes/recommend.ts';
import { replicaRoutes } from './routes/replicas.ts';
import { scheduleRoutes } from './routes/schedules.ts';
import { usageRoutes } from './routes/usage.ts';
import { whoamiRoutes } from './routes/whoami.ts';
import { validatorCompiler } from './validation.ts';

/** A body of at most `bodyLimitBytes` that takes longer to arrive is a client that holds a socket open. */
const REQUEST_TIMEOUT_MS = 60_000;
/** A caller's own request id is kept when it is fit for a log line and a header. */
const REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;

/** The control API, not yet listening: `listen()` it, or `inject()` requests. */
export function createControlApi(deps: ControlDeps): FastifyInstance {
  const app = Fastify({
    loggerInstance: deps.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: deps.config.api.bodyLimitBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    genReqId: (request) => {
      const given = request.headers['x-request-id'];
      return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
    },
    frameworkErrors: answerError,
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(answerError);
  app.setNotFoundHandler(answerUnknownRoute);
  app.decorateRequest('caller', null);
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  app.addHook('onResponse', async (request, reply) => {
    const level = request.method === 'GET' ? 'debug' : 'info';
    request.log[level](
      { method: request.method, url: request.url, status: reply.statusCode, ms: reply.elapsedTime },
      'answered',
    );
  });
  acceptEmptyJson(app);
  app.register(async (root) => {
    await describeApi(root);
    root.register(async (scope) => {
      const typed = scope.withTypeProvider<ZodTypeProvider>();
      healthRoutes(typed);
      whoamiRoutes(typed, deps);
      providerRoutes(typed, deps);
      endpointRoutes(typed, deps);
      recommendRoutes(typed, deps);
      lifecycleRoutes(typed, deps);
      replicaRoutes(typed, deps);
      metricsRoutes(typed, deps);
      scheduleRoutes(typed, deps);
      auditRoutes(typed, deps);
      usageRoutes(typed, deps);
      catalogRoutes(typed, deps);
      hostRoutes(typed, deps);
    });
  });
  return app;
}
