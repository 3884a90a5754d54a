import { errorMessage } from '../../spec/errors.ts';
import type { ControlDeps } from './context.ts';

/**
 * Tells an endpoint's workflow of a write that is committed, without waiting: the write counts whether or not Temporal is
 * there, and the relay repeats what fails here.
 */
export function tellWorkflow(
  deps: Pick<ControlDeps, 'notify' | 'log'>,
  where: { namespace: string; name: string },
  options: { wake?: boolean } = {},
): void {
  const { namespace, name } = where;
  deps.notify.endpointChanged({ namespace, name }, options).catch((error: unknown) => {
    deps.log.warn({ namespace, endpoint: name, reason: errorMessage(error) }, 'workflow not told yet');
  });
}
