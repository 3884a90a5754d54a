import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import type { HostActivities } from '../../activities/interfaces.ts';

type DownloadWeights = HostActivities['downloadWeights'];

/** Where an activity can run without a server; its expected failures are not logged. */
export function activityEnvironment(): MockActivityEnvironment {
  return new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
}

export function runDownload(
  downloadWeights: DownloadWeights,
  input: Parameters<DownloadWeights>[0],
  env: MockActivityEnvironment = activityEnvironment(),
): ReturnType<DownloadWeights> {
  return env.run<[typeof input], Awaited<ReturnType<DownloadWeights>>, DownloadWeights>(
    downloadWeights,
    input,
  );
}
