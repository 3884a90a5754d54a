import { errorMessage } from '../../spec/errors.ts';
import type { EndpointChange } from '../../store/endpoint-writes.ts';
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

/** The same for what a write decided, null where it changed nothing. One that asks for a start also ends a sleep. */
export function tellOfChange(
  deps: Pick<ControlDeps, 'notify' | 'log'>,
  where: { namespace: string; name: string },
  change: EndpointChange | null,
): void {
  if (change) tellWorkflow(deps, where, { wake: change.projection?.state === 'pending' });
}

/** The same for a scheduling rule: the janitor repeats within its period what fails here. */
export function tellScheduler(deps: Pick<ControlDeps, 'log'>, schedule: string, told: Promise<void>): void {
  told.catch((error: unknown) => {
    deps.log.warn({ schedule, reason: errorMessage(error) }, 'schedule not told to Temporal yet');
  });
}
