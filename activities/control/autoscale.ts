import { cancellationSignal, heartbeat, sleep } from '@temporalio/activity';
import { errorMessage } from '../../spec/errors.ts';
import { endpointWorkflowId } from '../../spec/names.ts';
import { measureLoad } from '../../store/load.ts';
import { scaleTo } from '../../workflows/messages.ts';
import { autoscale, type LoadMemory, NO_MEMORY } from '../../workflows/policy/autoscale.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';

const TICK_MS = 1000;

/**
 * The measuring and deciding behind the autoscaler workflow; only changes leave it, as signals. What it remembers is
 * worth at most five minutes of looking, so a new attempt begins without.
 */
export function autoscaleActivity({
  store,
  temporal,
  log,
}: ControlDeps): Pick<ControlActivities, 'autoscale'> {
  return {
    autoscale: async () => {
      let memories = new Map<string, LoadMemory>();
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
        heartbeat();
        cancellationSignal().throwIfAborted();
        await sleep(TICK_MS);
      }
    },
  };
}
