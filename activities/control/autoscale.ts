import { cancellationSignal, heartbeat, sleep } from '@temporalio/activity';
import { errorMessage } from '../../spec/errors.ts';
import { endpointWorkflowId } from '../../spec/names.ts';
import { measureLoad } from '../../store/load.ts';
import { scaleTo } from '../../workflows/messages.ts';
import { autoscale, type LoadMemory, NO_MEMORY } from '../../workflows/policy/autoscale.ts';
import type { OutlierMemory } from '../../workflows/policy/outliers.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';
import { replaceOutliers } from './outliers.ts';

const TICK_MS = 1000;

/**
 * The measuring and deciding behind the autoscaler workflow; only changes leave it, as signals. What it remembers is
 * worth at most five minutes of looking, so a new attempt begins without.
 */
export function autoscaleActivity(deps: ControlDeps): Pick<ControlActivities, 'autoscale'> {
  const { store, temporal, log } = deps;
  return {
    autoscale: async () => {
      let memories = new Map<string, LoadMemory>();
      let suspects: OutlierMemory = new Map();
      for (;;) {
        const next = new Map<string, LoadMemory>();
        for (const look of await measureLoad(store)) {
          const id = endpointWorkflowId(look.namespace, look.name);
          const { memory, decision } = autoscale(memories.get(id) ?? NO_MEMORY, look, Date.now());
          next.set(id, memory);
          if (!decision) continue;
          log.info({ endpoint: id, from: look.targetReplica, ...decision }, 'scaling');
          await temporal.workflow
            .getHandle(id)
            .signal(scaleTo, decision)
            .catch((error: unknown) =>
              log.warn({ endpoint: id, reason: errorMessage(error) }, 'not told to scale'),
            );
        }
        memories = next;
        suspects = await replaceOutliers(deps, suspects);
        heartbeat();
        cancellationSignal().throwIfAborted();
        await sleep(TICK_MS);
      }
    },
  };
}
