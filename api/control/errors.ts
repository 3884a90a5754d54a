import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { EndpointsError, ERRORS, type ErrorCode } from '../../spec/errors.ts';
import { databaseFailure } from '../../store/failures.ts';

/** Fastify's own refusals in our words: its code → our code and text. */
const FASTIFY_ERRORS: Record<string, { code: ErrorCode; message: (error: Error) => string }> = {
  FST_ERR_CTP_INVALID_JSON_BODY: {
    code: 'VALIDATION_FAILED',
    message: () => 'the body is not valid JSON',
  },
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'TOO_LARGE', message: (error) => error.message },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: {
    code: 'VALIDATION_FAILED',
    message: () => 'the body is not as long as Content-Length says',
  },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: 'UNSUPPORTED_MEDIA_TYPE',
    message: () => 'Content-Type: send application/json',
  },
  FST_ERR_BAD_URL: { code: 'VALIDATION_FAILED', message: () => 'the path is not a valid URL path' },
};

/** `{"error", "code"}`: clients show `error` to their user, programs decide by `code`. */
export interface ErrorBody {
  error: string;
  code: ErrorCode;
}

/**
 * Turns whatever was thrown into an answer. Only an `EndpointsError` was written for the caller; anything unexpected
 * is logged and answered with the request id alone.
 */
export function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const known = asEndpointsError(error);
  if (!known) {
    request.log.error({ err: error, reqId: request.id }, 'unexpected error');
    return send(
      reply,
      request,
      'INTERNAL',
      `internal error: its cause is in the log of the API (request ${request.id})`,
    );
  }
  if (known.status >= 500) request.log.warn({ err: known, reqId: request.id }, 'request failed');
  if (known.code === 'UNAUTHORIZED') reply.header('www-authenticate', 'Bearer');
  if (known.code === 'UNAVAILABLE') reply.header('retry-after', '2');
  return send(reply, request, known.code, known.message);
}

export function answerUnknownRoute(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const path = request.url.split('?', 1)[0] ?? '';
  return send(reply, request, 'NOT_FOUND', `there is no ${request.method} ${path.slice(0, 200)}: see /docs`);
}

function asEndpointsError(error: unknown): EndpointsError | null {
  if (error instanceof EndpointsError) return error;
  const fastify = FASTIFY_ERRORS[(error as Partial<FastifyError>)?.code ?? ''];
  if (fastify && error instanceof Error) return new EndpointsError(fastify.code, fastify.message(error));
  return databaseFailure(error);
}

function send(reply: FastifyReply, request: FastifyRequest, code: ErrorCode, message: string): FastifyReply {
  const body: ErrorBody = { error: message, code };
  // Set here as well as in the hook: a path that cannot be parsed is answered before any hook runs.
  reply.header('x-request-id', request.id);
  reply.header('x-error-message', headerText(message));
  reply.header('content-type', 'application/json; charset=utf-8');
  return reply.code(ERRORS[code].status).serializer(JSON.stringify).send(body);
}

const MAX_HEADER_TEXT = 1000;

/** Header values are printable ASCII on one line. */
export function headerText(message: string): string {
  return message.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, MAX_HEADER_TEXT);
}
