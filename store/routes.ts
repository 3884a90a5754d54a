import { sql } from 'kysely';
import { EndpointsError } from '../spec/errors.ts';
import type { Answers } from '../spec/lifecycle.ts';
import type { Store } from './database.ts';
import { reportReplica } from './lifecycle.ts';
import type { Vault } from './secrets.ts';

/**
 * Routes say which replicas gateways may send requests to, gateway rows say how far each gateway has read them and what
 * it has in flight. Together they answer the one question a drain asks: can any request still reach this replica?
 */

/** A gateway not heard from for so long is gone and holds no drain up. Gateways report every 2 s at the latest. */
const GATEWAY_SILENT_SECONDS = 5;

/**
 * Route changes commit in the order of their versions: the lock is taken before a version is drawn and held until the
 * commit. Otherwise a gateway could read version 6 while 5 is still uncommitted, and count as having seen both.
 */
const inVersionOrder = sql`SELECT pg_advisory_xact_lock(hashtext('route_version'))`;
const nextVersion = sql<number>`nextval('route_version')`;

/** Context the engine key of a route is encrypted with. */
export function routeContext(replicaId: string): string {
  return `route:${replicaId}`;
}

/** What a route's address stands for. @throws EndpointsError VALIDATION_FAILED when it is not an address */
export function routeOrigin(address: string): URL {
  const href = address.includes('://') ? address : `http://${address}`;
  const origin = URL.canParse(href) ? new URL(href) : null;
  if (origin?.protocol !== 'http:')
    throw new EndpointsError(
      'VALIDATION_FAILED',
      `'${address}' is not an address of a replica: it is host:port`,
    );
  return origin;
}

export interface NewRoute {
  replicaId: string;
  endpointId: string;
  /** `host:port` (or an http URL without a path) on which the replica answers gateways. */
  address: string;
  engineKey: string;
}

/**
 * Opens a replica to requests. Repeating it changes nothing but the address; a replica that drains already stays
 * closed, and one that is over gets no route: a step that runs late must not bring it back.
 */
export async function addRoute(store: Store, vault: Vault, route: NewRoute): Promise<void> {
  await addRouteAnd(store, vault, route, async () => undefined);
}

/** The same, with the replica's row: requests may come, and it counts as running from the same moment on. */
export async function openReplica(
  store: Store,
  vault: Vault,
  route: NewRoute & { message: string },
): Promise<void> {
  const { replicaId, message } = route;
  await addRouteAnd(store, vault, route, (tx) => reportReplica(tx, { replicaId, stage: 'running', message }));
}

async function addRouteAnd(
  store: Store,
  vault: Vault,
  route: NewRoute,
  more: (tx: Store) => Promise<void>,
): Promise<void> {
  // Refused here, where one replica fails of it; in the table it would stop every gateway's reading.
  routeOrigin(route.address);
  const engineKey = vault.encrypt(route.engineKey, routeContext(route.replicaId));
  await store.transaction().execute(async (tx) => {
    await inVersionOrder.execute(tx);
    await sql`
      INSERT INTO routes (replica_id, endpoint_id, address, engine_key, state)
      SELECT id, endpoint_id, ${route.address}, ${engineKey}, 'ready'
      FROM replicas WHERE id = ${route.replicaId} AND endpoint_id = ${route.endpointId} AND stopped_at IS NULL
      ON CONFLICT (replica_id) DO UPDATE
        SET address = excluded.address, engine_key = excluded.engine_key, version = excluded.version
        WHERE routes.state = 'ready'`.execute(tx);
    await more(tx);
  });
}

/** Opens a replica again whose drain was called off; only its own workflow may, which knows that it goes on. */
export async function stopDraining(store: Store, replicaId: string): Promise<void> {
  await store.transaction().execute(async (tx) => {
    await inVersionOrder.execute(tx);
    await tx
      .updateTable('routes')
      .set({ state: 'ready', version: nextVersion })
      .where('replica_id', '=', replicaId)
      .where('state', '=', 'draining')
      .execute();
  });
}

/**
 * Closes a replica to new requests. Returns the version a gateway must have read for that to hold there; for a route
 * that is gone already, the newest version there is.
 */
export async function startDraining(store: Store, replicaId: string): Promise<number> {
  return store.transaction().execute(async (tx) => {
    await inVersionOrder.execute(tx);
    await tx
      .updateTable('routes')
      .set({ state: 'draining', version: nextVersion })
      .where('replica_id', '=', replicaId)
      .where('state', '=', 'ready')
      .execute();
    const route = await tx
      .selectFrom('routes')
      .select('version')
      .where('replica_id', '=', replicaId)
      .executeTakeFirst();
    return route ? route.version : newestVersion(tx);
  });
}

/** Takes the route away; absent is success. Only after a drain: gateways learn of it without a version. */
export async function removeRoute(store: Store, replicaId: string): Promise<void> {
  await store.deleteFrom('routes').where('replica_id', '=', replicaId).execute();
}

/** Highest version of any route; 0 when there is none. */
export async function newestVersion(store: Store): Promise<number> {
  const row = await store
    .selectFrom('routes')
    .select((e) => e.fn.max('version').as('version'))
    .executeTakeFirst();
  return row?.version ?? 0;
}

export interface DrainState {
  /** Requests on this replica that live gateways have not finished. */
  inFlight: number;
  /** Every live gateway has read `version`, so `inFlight` can only fall. */
  caughtUp: boolean;
}

/** The drain is over when `caughtUp` is true and `inFlight` is 0. */
export async function drainState(
  store: Store,
  { replicaId, version }: { replicaId: string; version: number },
): Promise<DrainState> {
  const { rows } = await sql<DrainState>`
    SELECT coalesce(sum((l.in_flight ->> ${replicaId}::text)::integer), 0)::integer AS "inFlight",
           coalesce(bool_and(g.version >= ${version}), true) AS "caughtUp"
    FROM gateways g
    LEFT JOIN gateway_load l ON l.gateway_id = g.id
      AND l.endpoint_id = (SELECT endpoint_id FROM replicas WHERE id = ${replicaId})
    WHERE g.seen_at > now() - make_interval(secs => ${GATEWAY_SILENT_SECONDS})`.execute(store);
  return rows[0] ?? { inFlight: 0, caughtUp: true };
}

/** What one gateway has on one endpoint. */
export interface EndpointLoadReport {
  endpointId: string;
  /** Requests sent to a replica and not answered to the end, by replica; replicas with none are left out. */
  inFlight: Record<string, number>;
  /** Accepted requests without a response status yet, held ones included. */
  pending: number;
  /** Accepted requests since the gateway started. */
  requests: number;
  lastRequestAt: Date | null;
  /** By replica; those this gateway has no route to are left out. */
  answers: Record<string, Answers>;
}

export interface GatewayReport {
  gatewayId: string;
  /** Route version this gateway acts on; `loads` were read at the same moment. */
  version: number;
  /** Endpoints whose load changed since the last report that succeeded. */
  loads: readonly EndpointLoadReport[];
}

/**
 * Stores what a gateway reports, in one transaction, so that nobody sees its version without the load that belongs to
 * it. Also moves the endpoints' `last_used_at` forward. Loads of endpoints that no longer exist are dropped.
 */
export async function reportGateway(store: Store, report: GatewayReport): Promise<void> {
  const upsert = sql`
    INSERT INTO gateways (id, version, seen_at) VALUES (${report.gatewayId}, ${report.version}, now())
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, seen_at = excluded.seen_at`;
  if (report.loads.length === 0) {
    await upsert.execute(store);
    return;
  }
  const ids = report.loads.map((load) => load.endpointId);
  const loads = sql`jsonb_to_recordset(${JSON.stringify(report.loads)}::jsonb) AS l("endpointId" uuid,
    "inFlight" jsonb, answers jsonb, pending integer, requests bigint, "lastRequestAt" timestamptz)`;
  await store.transaction().execute(async (tx) => {
    // In the order of ids, so that two gateways never wait for each other; and no endpoint goes away meanwhile.
    await sql`SELECT 1 FROM endpoints WHERE id = ANY(${ids}::uuid[]) ORDER BY id FOR NO KEY UPDATE`.execute(
      tx,
    );
    await upsert.execute(tx);
    await sql`
      INSERT INTO gateway_load
        (gateway_id, endpoint_id, in_flight, answers, pending, requests, last_request_at, reported_at)
      SELECT ${report.gatewayId}, e.id, l."inFlight", coalesce(l.answers, '{}'), l.pending, l.requests, l."lastRequestAt", now()
      FROM ${loads} JOIN endpoints e ON e.id = l."endpointId"
      ON CONFLICT (gateway_id, endpoint_id) DO UPDATE SET in_flight = excluded.in_flight, answers = excluded.answers,
        pending = excluded.pending, requests = excluded.requests, last_request_at = excluded.last_request_at,
        reported_at = excluded.reported_at`.execute(tx);
    await sql`
      UPDATE endpoints e SET last_used_at = l."lastRequestAt" FROM ${loads}
      WHERE e.id = l."endpointId" AND l."lastRequestAt" > coalesce(e.last_used_at, '-infinity')`.execute(tx);
  });
}

/** What the other gateways that live have in hand. */
export interface Elsewhere {
  readonly gateways: number;
  /** Requests by replica; replicas with none are left out. */
  readonly inFlight: ReadonlyMap<string, number>;
}

/** Reads what gateways other than this one last reported, up to a second ago. */
export async function loadElsewhere(store: Store, gatewayId: string): Promise<Elsewhere> {
  const { rows } = await sql<{ replicaId: string | null; inFlight: number; gateways: number }>`
    WITH others AS (
      SELECT id FROM gateways
      WHERE id <> ${gatewayId} AND seen_at > now() - make_interval(secs => ${GATEWAY_SILENT_SECONDS}))
    SELECT f.key AS "replicaId", sum(f.value::integer)::integer AS "inFlight",
      (SELECT count(*)::integer FROM others) AS gateways
    FROM others o LEFT JOIN gateway_load l ON l.gateway_id = o.id
      LEFT JOIN LATERAL jsonb_each_text(l.in_flight) f ON true
    GROUP BY f.key`.execute(store);
  const inFlight = new Map<string, number>();
  for (const row of rows) if (row.replicaId !== null) inFlight.set(row.replicaId, row.inFlight);
  return { gateways: rows[0]?.gateways ?? 0, inFlight };
}

/** The gateway has ended: no drain waits for it any more. */
export async function forgetGateway(store: Store, gatewayId: string): Promise<void> {
  await store.deleteFrom('gateways').where('id', '=', gatewayId).execute();
}

/** Removes what killed gateways left behind. */
export async function forgetSilentGateways(store: Store, silentSeconds: number): Promise<void> {
  await sql`DELETE FROM gateways WHERE seen_at < now() - make_interval(secs => ${silentSeconds})`.execute(
    store,
  );
}
