import { log, patched } from '@temporalio/workflow';
import { failureOf } from './causes.ts';
import { janitorSteps, onHost, store } from './options.ts';

/**
 * Started by a schedule. Compares what hosts run with what the store says they should, and removes the rest; closes
 * rows whose replica is over; makes the schedules of scaling rules what the store says.
 */
export async function janitor(): Promise<void> {
  await store.sweepStore();
  const hosts = await store.listHosts();
  await Promise.all([...hosts.map(sweepHost), ...(patched('schedules') ? [repairSchedules()] : [])]);
}

async function repairSchedules(): Promise<void> {
  try {
    const repaired = await janitorSteps.repairSchedules.executeWithOptions(
      { summary: 'scaling schedules' },
      [],
    );
    if (repaired.put > 0 || repaired.removed > 0) log.info('scaling schedules repaired', repaired);
  } catch (error) {
    log.warn('scaling schedules not compared; the next run tries again', { cause: failureOf(error).message });
  }
}

async function sweepHost(hostId: string): Promise<void> {
  const { stop } = onHost(hostId);
  try {
    const containers = await stop.listContainers.executeWithOptions(
      { summary: `containers on ${hostId}` },
      [],
    );
    if (containers.length === 0) return;
    const names = await janitorSteps.findOrphans({ hostId, containers });
    if (names.length === 0) return;
    log.warn('removing orphans', { hostId, names });
    await stop.removeContainers.executeWithOptions({ summary: `orphans: ${names.join(', ')}` }, [{ names }]);
  } catch (error) {
    log.warn('host not swept; the next run tries again', { hostId, cause: failureOf(error).message });
  }
}
