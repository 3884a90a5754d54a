import { ApplicationFailure } from '@temporalio/common';
import type Docker from 'dockerode';
import { engineNamed } from '../../engines/index.ts';
import type { Failure } from '../../spec/errors.ts';
import { secretsOf } from './create.ts';
import { readLog, tailOf } from './logs.ts';

/** Why a container that is not running ended, by its engine's rules; `null` stands for one that is gone. */
export async function exitFailure(
  docker: Docker,
  info: Docker.ContainerInspectInfo | null,
  engine: string,
): Promise<Failure> {
  if (!info) {
    return {
      code: 'UNKNOWN',
      message: 'the container is gone: something other than this platform removed it',
    };
  }
  const failure = engineNamed(engine).classify({
    exitCode: info.State.ExitCode,
    oomKilled: info.State.OOMKilled,
    logTail: await readLog(docker, info.Id, secretsOf(info)),
  });
  return withLog(failure, failure.logTail ?? '');
}

/** A failure with as much of the log's end as one carries. */
export function withLog(failure: Failure, log: string): Failure {
  return log ? { ...failure, logTail: tailOf(log) } : failure;
}

/**
 * A failure of this very container, whatever its code: the same step would only look at it again. Whether a new one may
 * fare better is for the workflow to decide, by the code.
 */
export function finalFailure(failure: Failure): ApplicationFailure {
  return ApplicationFailure.create({
    message: failure.message,
    type: failure.code,
    nonRetryable: true,
    details: [failure],
  });
}
