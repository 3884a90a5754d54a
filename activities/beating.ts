import { Context } from '@temporalio/activity';

const BEAT_MS = 2000;

/**
 * The same activity with a heartbeat while it runs, for steps that have no progress to tell: when the process dies, the
 * missing beat lets another one take the step up within seconds instead of after its whole time-out.
 */
export function beating<A extends unknown[], R>(
  activity: (...args: A) => Promise<R>,
): (...args: A) => Promise<R> {
  return async (...args) => {
    const context = Context.current();
    const beat = setInterval(() => context.heartbeat(), BEAT_MS);
    try {
      return await activity(...args);
    } finally {
      clearInterval(beat);
    }
  };
}
