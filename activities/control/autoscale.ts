import { cancellationSignal, heartbeat, sleep } from '@temporalio/activity';
import { endpointWorkflowId } from '../../spec/names.ts';
import { measureLoad } from '../../store/load.ts';
import { scaleTo } from '../../workflows/messages.ts';
import { autoscale } from '../../workflows/policy/autoscale.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';

const TICK_MS = 1000;

/** The measuring and deciding behind the autoscaler workflow; only changes leave it, as signals. */
export function autoscaleActivity({
  store,
  temporal,
  log,
}: ControlDeps): Pick<ControlActivities, 'autoscale'> {
  return {
    autoscale: async () => {
      for (;;) {
        for (const measured of await measureLoad(store)) {
          const decision = autoscale(measured, Date.now());
          if (!decision) continue;
          const id = endpointWorkflowId(measured.namespace, measured.name);
          log.info({ endpoint: id, ...decision }, 'scaling');
          await temporal.workflow.getHandle(id).signal(scaleTo, decision);
        }
        heartbeat();
        cancellationSignal().throwIfAborted();
        await sleep(TICK_MS);
      }
    },
  };
}
