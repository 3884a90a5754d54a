import { sql } from 'kysely';
import type { GatewaySettings } from '../spec/gateway.ts';
import type { DesiredPhase, EndpointState, EndpointType } from '../spec/states.ts';
import type { Store } from './database.ts';
import { newestVersion, routeContext } from './routes.ts';
import type { Vault } from './secrets.ts';
import { startSeconds } from './start-times.ts';

/** What a gateway has to know of an endpoint. */
export interface RoutedEndpoint {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly type: EndpointType;
  readonly state: EndpointState;
  readonly phase: DesiredPhase;
  readonly errorMessage: string | null;
  /** The spec's `experimentalFeatures.loadBalancer`; anything but `prefix` there is `leastInFlight`. */
  readonly loadBalancer: 'leastInFlight' | 'prefix';
  readonly revision: number;
  /** The spec's `cacheHttpResponses`, also where early clients put it, among the experimental features. */
  readonly cacheResponses: boolean;
  /** As the owner has set them; null when never. */
  readonly gateway: GatewaySettings | null;
  /** The spec's `route.domain` in lower case: a host name of the owner's. */
  readonly domain: string | null;
  /** How long a replica takes to start, by the last ones; null before the first has. */
  readonly startSeconds: number | null;
  /** Since when its oldest replica that is not ready yet starts, in milliseconds since the epoch; null when none does. */
  readonly startingSince: number | null;
  readonly replicas: readonly RoutedReplica[];
}

export interface RoutedReplica {
  readonly replicaId: string;
  /** `host:port` or an http URL without a path. */
  readonly address: string;
  /** In clear: it goes into the Authorization header of every request to this replica. */
  readonly engineKey: string;
  readonly state: 'ready' | 'draining';
}

export interface RouteSnapshot {
  /** Newest route version at the moment the endpoints were read; all changes up to it are in them. */
  version: number;
  endpoints: RoutedEndpoint[];
}

/** Reads every endpoint with its routes. */
export async function loadEndpoints(store: Store, vault: Vault): Promise<RouteSnapshot> {
  return load(store, vault, sql`true`);
}

/**
 * Reads the endpoints named, and those whose routes changed after `sinceVersion`: with these the reader knows every
 * route change up to the returned version, also one whose notification is still on its way. An id without a row in the
 * answer is an endpoint that is gone.
 */
export async function loadChangedEndpoints(
  store: Store,
  vault: Vault,
  { ids, sinceVersion }: { ids: readonly string[]; sinceVersion: number },
): Promise<RouteSnapshot> {
  const changed = sql`e.id = ANY(${ids}::uuid[])
    OR e.id IN (SELECT endpoint_id FROM routes WHERE version > ${sinceVersion})`;
  return load(store, vault, changed);
}

interface Row extends Omit<RoutedEndpoint, 'replicas'> {
  replicaId: string | null;
  address: string;
  engineKey: Buffer;
  routeState: 'ready' | 'draining';
}

async function load(store: Store, vault: Vault, which: ReturnType<typeof sql>): Promise<RouteSnapshot> {
  return store
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const version = await newestVersion(tx);
      const { rows } = await sql<Row>`
        SELECT e.id, e.namespace, e.name, e.spec ->> 'type' AS type, e.state, e.phase,
          e.error_message AS "errorMessage",
          CASE e.spec #>> '{experimentalFeatures,loadBalancer}' WHEN 'prefix' THEN 'prefix' ELSE 'leastInFlight' END
            AS "loadBalancer", e.spec -> 'gateway' AS gateway, lower(e.spec #>> '{route,domain}') AS domain, e.revision, ${startSeconds} AS "startSeconds",
          (SELECT extract(epoch FROM min(s.created_at))::float8 * 1000 FROM replicas s
            WHERE s.endpoint_id = e.id AND s.stopped_at IS NULL AND s.ready_at IS NULL) AS "startingSince",
          coalesce(e.spec ->> 'cacheHttpResponses' = 'true'
            OR e.spec #>> '{experimentalFeatures,cacheHttpResponses}' = 'true', false) AS "cacheResponses",
          r.replica_id AS "replicaId", r.address, r.engine_key AS "engineKey",
          r.state AS "routeState"
        FROM endpoints e LEFT JOIN routes r ON r.endpoint_id = e.id
        WHERE ${which} ORDER BY e.id, r.replica_id`.execute(tx);
      return { version, endpoints: group(rows, vault) };
    });
}

function group(rows: readonly Row[], vault: Vault): RoutedEndpoint[] {
  const endpoints = new Map<string, RoutedEndpoint & { replicas: RoutedReplica[] }>();
  for (const { replicaId, address, engineKey, routeState, ...endpoint } of rows) {
    const known = endpoints.get(endpoint.id) ?? { ...endpoint, replicas: [] };
    endpoints.set(endpoint.id, known);
    if (replicaId === null) continue;
    known.replicas.push({
      replicaId,
      address,
      engineKey: open(vault, replicaId, engineKey),
      state: routeState,
    });
  }
  return [...endpoints.values()];
}

function open(vault: Vault, replicaId: string, sealed: Buffer): string {
  try {
    return vault.decrypt<string>(sealed, routeContext(replicaId));
  } catch (cause) {
    throw new Error(
      `the engine key of replica ${replicaId} cannot be opened: this process has another secret key than the one that stored it; give all processes the same ENDPOINTS_SECRET_KEY or data directory`,
      { cause },
    );
  }
}
