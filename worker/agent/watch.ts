import { ApplicationFailure, Context } from '@temporalio/activity';
import type { HostActivities } from '../../activities/interfaces.ts';
import { HostWatch, type WatchDeps } from './host-watch.ts';

/** Silence of this activity is how a lost host is noticed, so it beats far more often than anyone waits. */
const HEARTBEAT_MS = 2000;

/** The one activity that runs for as long as the agent does. `stopping` ends it when the agent is told to stop. */
export function createWatchActivity(
  deps: WatchDeps & { stopping: AbortSignal },
): Pick<HostActivities, 'watchHost'> {
  return {
    async watchHost() {
      const context = Context.current();
      const signal = AbortSignal.any([context.cancellationSignal, deps.stopping]);
      const watch = new HostWatch(deps);
      context.heartbeat({ replicas: watch.replicas });
      const beat = setInterval(() => context.heartbeat({ replicas: watch.replicas }), HEARTBEAT_MS);
      try {
        await watch.run(signal);
      } finally {
        clearInterval(beat);
      }
      if (context.cancellationSignal.aborted) throw context.cancellationSignal.reason;
      // Retryable: the next agent of this host takes the watch up at once.
      throw ApplicationFailure.create({
        message: 'the agent is stopping; its containers go on running',
        type: 'UNAVAILABLE',
        nonRetryable: false,
        category: 'BENIGN',
      });
    },
  };
}
