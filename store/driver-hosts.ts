import { driverRefusal, driverSuits } from '../spec/driver.ts';
import { EndpointsError } from '../spec/errors.ts';
import type { HostInventory } from '../spec/lifecycle.ts';
import type { HostRoom, Need } from './placement.ts';

/** GPUs a replica can be given: one that is cut into slices is none of them. */
export function wholeGpus({ gpus }: Pick<HostInventory, 'gpus'>): number[] {
  return gpus.filter(({ mig }) => !mig).map(({ index }) => index);
}

/**
 * The hosts whose driver runs the image of this replica.
 * @throws EndpointsError DRIVER_TOO_OLD when there are hosts with enough GPUs and none of them has: waiting would be in
 * vain, and pulling an image of many gigabytes too
 */
export function hostsWithDriver(hosts: readonly HostRoom[], need: Need): readonly HostRoom[] {
  const { driver } = need;
  if (!driver || need.gpus === 0) return hosts;
  const suited = hosts.filter((host) => driverSuits(host.driver, driver.need));
  const large = (host: HostRoom) => host.gpus.length >= need.gpus;
  const old = hosts.filter((host) => large(host) && !suited.includes(host));
  if (suited.some(large) || old.length === 0) return suited;
  const versions = old.map((host) => `${host.driver?.version} on ${host.id}`).join(', ');
  throw new EndpointsError('DRIVER_TOO_OLD', driverRefusal(driver.image, versions, driver.need));
}
