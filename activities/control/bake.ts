import { cancellationSignal, heartbeat, sleep } from '@temporalio/activity';
import type { Failure } from '../../spec/errors.ts';
import type { BakeSettings } from '../../spec/lifecycle.ts';
import { answersOf } from '../../store/answers.ts';
import { errorsOf, judge, split, type Tally, tally } from '../../workflows/policy/bake.ts';
import type { ControlActivities } from '../interfaces.ts';
import type { ControlDeps } from './deps.ts';

/** Gateways report once a second. */
const LOOK_AGAIN_MS = 1000;

export function bakeActivity({ store }: ControlDeps): Pick<ControlActivities, 'watchBake'> {
  return {
    watchBake: async ({ endpointId, revision, bake, sinceMs }) => {
      let counted: Tally | null = null;
      for (;;) {
        counted = tally(counted, await answersOf(store, endpointId), revision);
        const counts = split(counted, revision);
        const now = Date.now();
        const verdict = judge(counts, bake, sinceMs, now);
        if (verdict === 'good') return null;
        if (verdict === 'bad') return tooManyErrors(revision, counts, bake, now - sinceMs);
        heartbeat(counts);
        cancellationSignal().throwIfAborted();
        await sleep(LOOK_AGAIN_MS);
      }
    },
  };
}

function tooManyErrors(
  revision: number,
  { trial, others }: ReturnType<typeof split>,
  { maxErrorPercent }: BakeSettings,
  servedMs: number,
): Failure {
  const beside = others.answers > 0 ? `; other replicas meanwhile ${others.errors} of ${others.answers}` : '';
  return {
    code: 'ENGINE_ERRORS',
    message: `revision ${revision} answered ${errorsOf(trial)} in ${Math.round(servedMs / 1000)} s${beside}. Allowed are ${maxErrorPercent} %, or twice what the others have. Look at the engine's log, and update the endpoint with what works.`,
  };
}
