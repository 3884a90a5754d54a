import type { FastifyBaseLogger } from 'fastify';
import { sql } from 'kysely';
import { errorMessage } from '../../spec/errors.ts';
import type { Store } from '../../store/database.ts';
import { type UnobservedEndpoint, unobservedEndpoints } from '../../store/endpoints.ts';
import type { Notifier } from '../../workflows/start.ts';

/**
 * Makes up for a notification that was lost: tells the workflow again of every write it has not reported to have
 * seen. So a write counts once it is in the store, whether or not Temporal is there at that moment.
 */

const TICK_MS = 2000;
/** A younger write is most likely being looked at right now. */
const SETTLE_MS = 1000;
/** Rows looked at and workflows told in one round. */
const LOOK_AT = 5000;
const BATCH = 200;
const PARALLEL = 20;
/** Told and still unseen means that no worker is there: more signals would only fill the workflow's history. */
const FIRST_REPEAT_MS = 4000;
const MAX_REPEAT_MS = 60_000;
/** Any number, the same in all API processes: the lock by which one of them at a time relays. */
const LOCK = 7_201_934;

export interface Relay {
  /** One round; resolves to how many workflows were told. */
  tick(now?: number): Promise<number>;
  start(): void;
  stop(): Promise<void>;
}

export function createRelay(deps: { store: Store; notify: Notifier; log: FastifyBaseLogger }): Relay {
  const told = new Map<string, { generation: number; waitMs: number; nextAt: number }>();
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<unknown> = Promise.resolve();
  let failing = false;

  const isDue = (row: UnobservedEndpoint, now: number) => {
    const last = told.get(row.id);
    return !last || last.generation !== row.generation || last.nextAt <= now;
  };

  const tell = async (row: UnobservedEndpoint, now: number) => {
    const last = told.get(row.id);
    const waitMs =
      last?.generation === row.generation ? Math.min(last.waitMs * 2, MAX_REPEAT_MS) : FIRST_REPEAT_MS;
    // Before the call: a row that cannot be told of must not be the first again and keep the others waiting.
    told.set(row.id, { generation: row.generation, waitMs, nextAt: now + waitMs });
    // 'pending' is written by whoever wants the endpoint to start, so here it ends a sleep as well.
    await deps.notify.endpointChanged(
      { namespace: row.namespace, name: row.name },
      { wake: row.state === 'pending' },
    );
  };

  const round = (now: number) =>
    deps.store.transaction().execute(async (trx) => {
      const { rows } = await sql<{
        mine: boolean;
      }>`SELECT pg_try_advisory_xact_lock(${LOCK}) AS mine`.execute(trx);
      if (!rows[0]?.mine) return 0;
      const unseen = await unobservedEndpoints(trx, { olderThanMs: SETTLE_MS, limit: LOOK_AT });
      const ids = new Set(unseen.map((row) => row.id));
      for (const id of told.keys()) if (!ids.has(id)) told.delete(id);
      const due = unseen.filter((row) => isDue(row, now)).slice(0, BATCH);
      for (let i = 0; i < due.length; i += PARALLEL)
        await Promise.all(due.slice(i, i + PARALLEL).map((row) => tell(row, now)));
      return due.length;
    });

  const tick = async (now = Date.now()) => {
    try {
      const count = await round(now);
      if (failing) deps.log.info('workflows can be told of changes again');
      failing = false;
      return count;
    } catch (error) {
      if (!failing)
        deps.log.warn({ reason: errorMessage(error) }, 'workflows cannot be told of changes now; trying on');
      failing = true;
      return 0;
    }
  };

  const schedule = () => {
    timer = setTimeout(() => {
      running = tick().then(() => {
        if (timer) schedule();
      });
    }, TICK_MS);
  };

  return {
    tick,
    start: schedule,
    stop: async () => {
      clearTimeout(timer);
      timer = undefined;
      await running;
    },
  };
}
