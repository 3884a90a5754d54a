import { EndpointsError } from '../spec/errors.ts';

/** PostgreSQL's classes and codes for a server that is away, going away, coming up, full, or too slow to finish. */
const SERVER_AWAY = /^(?:08...|57P0[123]|53300|57014)$/;
const SOCKET_AWAY = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN']);
/** What the driver says, without a code, of a connection that was lost or not had in time. */
const DRIVER_AWAY = /connection terminated|timeout exceeded when trying to connect|not queryable/i;
const DRIVER_SILENT = 'Query read timeout';

/** True for the driver's word that a statement was sent and not answered in time. */
export function isSilence(error: unknown): boolean {
  return error instanceof Error && error.message === DRIVER_SILENT;
}
/** A text the database cannot store: NUL, or half a surrogate pair. */
const BAD_TEXT = new Set(['22021', '22P02', '22P05']);

/**
 * What a failed statement means to a user: UNAVAILABLE when the database is away, VALIDATION_FAILED for text it cannot
 * hold; null when it is neither, which is our mistake.
 */
export function databaseFailure(error: unknown): EndpointsError | null {
  if (!(error instanceof Error)) return null;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (SERVER_AWAY.test(code) || SOCKET_AWAY.has(code) || DRIVER_AWAY.test(error.message) || isSilence(error))
    return new EndpointsError('UNAVAILABLE', 'the database does not answer: try again in a moment', {
      cause: error,
    });
  if (BAD_TEXT.has(code))
    return new EndpointsError('VALIDATION_FAILED', 'the request holds text that cannot be stored', {
      cause: error,
    });
  return null;
}
