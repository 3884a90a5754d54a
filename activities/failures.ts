import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { EndpointsError, ERRORS, errorMessage, type Failure } from '../spec/errors.ts';

/**
 * A failure as it leaves an activity: `type` is the code, the one detail is the {@link Failure}, and the retry policy
 * of the workflow applies only where {@link ERRORS} says that trying again can help.
 */
export function failureToApplicationFailure(failure: Failure): ApplicationFailure {
  return ApplicationFailure.create({
    message: failure.message,
    type: failure.code,
    nonRetryable: !ERRORS[failure.code].retryable,
    details: [failure],
  });
}

/**
 * Turns whatever an activity caught into what it throws: `throw toApplicationFailure(error)`. Anything without a code
 * becomes `INTERNAL`. The cause is left out on purpose: it goes into the workflow's history, and a lower layer's error
 * may hold a signed URL or a header.
 * @throws the error itself when it is a cancellation, which must reach the SDK as it is
 */
export function toApplicationFailure(error: unknown): ApplicationFailure {
  if (isCancellation(error)) throw error;
  if (error instanceof ApplicationFailure) return error;
  const code = error instanceof EndpointsError ? error.code : 'INTERNAL';
  return failureToApplicationFailure({ code, message: errorMessage(error) });
}

/** True for the two shapes in which a cancelled activity ends: the SDK's own and an aborted I/O call. */
export function isCancellation(error: unknown): boolean {
  return error instanceof CancelledFailure || (error instanceof Error && error.name === 'AbortError');
}
