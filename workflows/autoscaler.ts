import {
  CancellationScope,
  condition,
  continueAsNew,
  proxyActivities,
  workflowInfo,
} from '@temporalio/workflow';
import type { ControlActivities } from '../activities/interfaces.ts';

/** One for the installation: keeps one heartbeating activity going that measures, decides and signals. */
export async function autoscaler(): Promise<void> {
  const control = proxyActivities<Pick<ControlActivities, 'autoscale'>>({
    startToCloseTimeout: '365 days',
    heartbeatTimeout: '15 seconds',
    retry: { initialInterval: '1 second', backoffCoefficient: 1 },
  });
  const scope = new CancellationScope();
  const running = scope.run(() =>
    control.autoscale.executeWithOptions({ summary: 'measure and decide' }, []),
  );
  running.catch(() => undefined);
  await condition(() => workflowInfo().continueAsNewSuggested);
  scope.cancel();
  await running.catch(() => undefined);
  await continueAsNew<typeof autoscaler>();
}
