import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/workflow';
import { errorMessage, type Failure, isErrorCode } from '../spec/errors.ts';

/** The classified cause inside what an activity call throws. */
export function failureOf(error: unknown): Failure {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure && isErrorCode(cause.type)) {
    const [detail] = (cause.details ?? []) as (Failure | undefined)[];
    return detail?.code ? detail : { code: cause.type, message: cause.message };
  }
  if (error instanceof ActivityFailure && cause instanceof TimeoutFailure) {
    return {
      code: 'HOST_LOST',
      message: `the host's agent did not answer (${error.activityType}: ${cause.message}); check that it runs and reaches Temporal`,
    };
  }
  return { code: 'UNKNOWN', message: errorMessage(cause) };
}
