import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { jsonLines } from '../../activities/containers/docker.ts';
import { LABELS } from '../../spec/names.ts';

const RECONNECT_MS = 500;
/** What can mean that a container does not run any more. */
const ENDINGS = ['die', 'oom', 'destroy', 'pause'];

/** The one thing of Docker that is used here. */
export interface EventSource {
  getEvents(options: Docker.GetEventsOptions): Promise<NodeJS.ReadableStream>;
}

/**
 * Calls `onEnd` with the id of a container of ours whenever Docker says that it ended, and with null after every
 * (re)connection, because what happened in between is not told again. Follows until `signal` is aborted; a lost stream is
 * opened anew.
 */
export async function followEvents(
  docker: EventSource,
  installation: string,
  onEnd: (containerId: string | null) => void,
  signal: AbortSignal,
): Promise<void> {
  const filters = {
    type: ['container' as const],
    event: ENDINGS,
    label: [`${LABELS.installation}=${installation}`],
  };
  while (!signal.aborted) {
    try {
      const stream = await docker.getEvents({ filters, abortSignal: signal });
      onEnd(null);
      for await (const event of jsonLines(stream)) onEnd(idOf(event));
    } catch {
      // Docker is away: whoever asks it for something says so. Here only the next connection counts.
    }
    await sleep(RECONNECT_MS, undefined, { signal }).catch(() => undefined);
  }
}

function idOf(event: unknown): string | null {
  const id = (event as { Actor?: { ID?: unknown } }).Actor?.ID;
  return typeof id === 'string' ? id : null;
}
