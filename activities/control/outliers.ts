import { errorMessage } from '../../spec/errors.ts';
import { replicaWorkflowId } from '../../spec/names.ts';
import { answersWhereOneFails } from '../../store/answers.ts';
import { containerLost } from '../../workflows/messages.ts';
import { type OutlierMemory, outliers } from '../../workflows/policy/outliers.ts';
import type { ControlDeps } from './deps.ts';

/** Ends replicas that go on failing while their siblings answer; their endpoints start others. */
export async function replaceOutliers(
  { store, temporal, log }: Pick<ControlDeps, 'store' | 'temporal' | 'log'>,
  before: OutlierMemory,
  now = Date.now(),
): Promise<OutlierMemory> {
  const rows = (await answersWhereOneFails(store)).map((row) => ({
    ...row,
    endpoint: `${row.namespace}/${row.name}`,
  }));
  const { memory, found } = outliers(before, rows, now);
  for (const { endpoint, number, failure } of found) {
    const [namespace = '', name = ''] = endpoint.split('/');
    const id = replicaWorkflowId(namespace, name, number);
    log.warn({ replica: id, reason: failure.message }, 'replacing a replica');
    await temporal.workflow
      .getHandle(id)
      .signal(containerLost, failure)
      .catch((error: unknown) => log.warn({ replica: id, reason: errorMessage(error) }, 'not told to end'));
  }
  return memory;
}
