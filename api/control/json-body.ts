import type { FastifyInstance } from 'fastify';

/**
 * JSON bodies, with the exception clients need: some send `Content-Type: application/json` with nothing after it on
 * calls that take no body. Keys that reach an object's prototype are refused.
 */
export function acceptEmptyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else parse(request, body.toString(), done);
  });
}
