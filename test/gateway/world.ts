import { randomBytes, randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { type Logger, pino } from 'pino';
import { createGateway, type Gateway, type GatewayDeps } from '../../api/gateway/server.ts';
import type { GatewaySettings } from '../../spec/gateway.ts';
import { replicaId } from '../../spec/names.ts';
import type { Role } from '../../spec/permissions.ts';
import type { DesiredPhase, EndpointState, EndpointType } from '../../spec/states.ts';
import { addRoute } from '../../store/routes.ts';
import { Vault } from '../../store/secrets.ts';
import { createToken, hashToken } from '../../store/tokens.ts';
import { eventually } from '../support/eventually.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

/** A store with one user in namespace `acme`, gateways on it, and helpers that act as the control plane does. */
export interface World {
  db: TestDatabase;
  vault: Vault;
  /** The vault's key, as `ENDPOINTS_SECRET_KEY` has it. */
  secretKey: string;
  /** Names of endpoints that were asked to wake, in order. */
  wakes: string[];
  /** Starts a gateway and waits until it serves. */
  startGateway(options?: {
    config?: Partial<GatewayDeps['config']>;
    wake?: GatewayDeps['wake'];
    resyncMs?: number;
    log?: Logger;
  }): Promise<RunningGateway>;
  addEndpoint(options?: {
    name?: string;
    type?: EndpointType;
    state?: EndpointState;
    phase?: DesiredPhase;
    errorMessage?: string;
    loadBalancer?: string;
    gateway?: GatewaySettings;
    cacheHttpResponses?: boolean;
    domain?: string;
  }): Promise<TestEndpoint>;
  setGateway(endpoint: TestEndpoint, gateway: GatewaySettings): Promise<void>;
  setState(endpoint: TestEndpoint, state: EndpointState, phase?: DesiredPhase): Promise<void>;
  setLoadBalancer(endpoint: TestEndpoint, loadBalancer: string): Promise<void>;
  addReplica(endpoint: TestEndpoint, address: string): Promise<string>;
  /** One without a route: it began `agoSeconds` ago, and was ready after `tookSeconds` and stopped, or still starts. */
  addStart(endpoint: TestEndpoint, start: { agoSeconds: number; tookSeconds?: number }): Promise<void>;
  /** A token of a user who belongs to `namespace`. */
  token(options?: { role?: Role; namespace?: string; expiresAt?: Date }): Promise<string>;
  revoke(token: string): Promise<void>;
  close(): Promise<void>;
}

export interface RunningGateway extends Gateway {
  port: number;
}

export interface TestEndpoint {
  id: string;
  name: string;
  /** Path of the endpoint on a gateway. */
  path: string;
}

export const GATEWAY_CONFIG: GatewayDeps['config'] = {
  holdSeconds: 10,
  maxHoldSeconds: 20,
  maxHeldRequests: 100,
  maxHeldBytes: 1_000_000,
  maxHeldRequestsTotal: 1000,
  maxHeldBytesTotal: 10_000_000,
  replayBodyBytes: 100_000,
  accessLog: { sample: 0 },
  domain: null,
  publicUrl: null,
  ownHosts: [],
  tls: null,
  slowHeadSeconds: 30,
  slowClientSeconds: 60,
  trustedProxies: [],
  defaults: {},
  usageDays: 400,
  cacheBytes: 1_000_000,
  tracing: false,
};

/** On a database of the shared server, or on one that the test itself starts and stops. */
export async function createWorld(database?: TestDatabase): Promise<World> {
  const db = database ?? (await testDatabase());
  const { store } = db;
  const key = randomBytes(32);
  const vault = new Vault(key);
  const wakes: string[] = [];
  const gateways: Gateway[] = [];
  const userId = randomUUID();
  let replicas = 0;
  await store.insertInto('namespaces').values({ name: 'acme', kind: 'organization' }).execute();
  await addUser('ada', userId, 'acme');

  async function addUser(name: string, id: string, namespace: string): Promise<void> {
    await store
      .insertInto('namespaces')
      .values({ name: namespace, kind: 'organization' })
      .onConflict((c) => c.doNothing())
      .execute();
    await store.insertInto('users').values({ id, name, email: null }).execute();
    await store.insertInto('memberships').values({ user_id: id, namespace, role: 'write' }).execute();
  }

  return {
    db,
    vault,
    secretKey: key.toString('base64'),
    wakes,
    startGateway: async ({ config = {}, ...options } = {}) => {
      const gateway = createGateway({
        store,
        databaseUrl: db.url,
        vault,
        log: pino({ level: 'silent' }),
        wake: async (_namespace, name) => {
          wakes.push(name);
        },
        config: { ...GATEWAY_CONFIG, ...config },
        ...options,
      });
      gateways.push(gateway);
      const port = await gateway.listen({ host: '127.0.0.1', port: 0 });
      await gateway.ready;
      return { ...gateway, port };
    },
    addEndpoint: async (options = {}) => {
      const id = randomUUID();
      const name = options.name ?? `e-${id.slice(0, 8)}`;
      await store
        .insertInto('endpoints')
        .values({
          id,
          namespace: 'acme',
          name,
          spec: JSON.stringify({
            type: options.type ?? 'public',
            experimentalFeatures: options.loadBalancer ? { loadBalancer: options.loadBalancer } : {},
            ...(options.gateway ? { gateway: options.gateway } : {}),
            ...(options.domain ? { route: { domain: options.domain } } : {}),
            ...(options.cacheHttpResponses ? { cacheHttpResponses: true } : {}),
          }),
          secrets: null,
          phase: options.phase ?? 'running',
          generation: 1,
          revision: 1,
          sleep_generation: 0,
          state: options.state ?? 'running',
          error_message: options.errorMessage ?? null,
          created_by: userId,
          updated_by: userId,
          last_used_at: null,
        })
        .execute();
      return { id, name, path: `/acme/${name}` };
    },
    setState: async (endpoint, state, phase = 'running') => {
      await store.updateTable('endpoints').set({ state, phase }).where('id', '=', endpoint.id).execute();
    },
    setLoadBalancer: async (endpoint, loadBalancer) => {
      const spec = JSON.stringify({ type: 'public', experimentalFeatures: { loadBalancer } });
      await store.updateTable('endpoints').set({ spec }).where('id', '=', endpoint.id).execute();
    },
    setGateway: async (endpoint, gateway) => {
      const spec = sql<never>`spec || ${JSON.stringify({ gateway })}::jsonb`;
      await store.updateTable('endpoints').set({ spec }).where('id', '=', endpoint.id).execute();
    },
    addReplica: async (endpoint, address) => {
      replicas += 1;
      const id = replicaId(endpoint.id, replicas);
      await store
        .insertInto('replicas')
        .values({
          id,
          endpoint_id: endpoint.id,
          number: replicas,
          revision: 1,
          stage: 'running',
          host_id: null,
          failure: null,
          ready_at: null,
          stopped_at: null,
        })
        .execute();
      await addRoute(store, vault, {
        replicaId: id,
        endpointId: endpoint.id,
        address,
        engineKey: vault.engineKey(id),
      });
      return id;
    },
    addStart: async (endpoint, { agoSeconds, tookSeconds }) => {
      replicas += 1;
      const beganAt = Date.now() - agoSeconds * 1000;
      const readyAt = tookSeconds === undefined ? null : new Date(beganAt + tookSeconds * 1000);
      await store
        .insertInto('replicas')
        .values({
          id: replicaId(endpoint.id, replicas),
          endpoint_id: endpoint.id,
          number: replicas,
          revision: 1,
          stage: readyAt ? 'stopped' : 'initializing',
          host_id: null,
          failure: null,
          created_at: new Date(beganAt),
          ready_at: readyAt,
          stopped_at: readyAt,
        })
        .execute();
    },
    token: async ({ role = 'infer', namespace = 'acme', expiresAt } = {}) => {
      const userName = `user-${randomBytes(4).toString('hex')}`;
      await addUser(userName, randomUUID(), namespace);
      const made = await createToken(store, {
        userName,
        name: 't',
        role,
        ...(expiresAt ? { expiresAt } : {}),
      });
      return made.token;
    },
    revoke: async (token) => {
      await store
        .updateTable('tokens')
        .set({ revoked_at: new Date() })
        .where('sha256', '=', hashToken(token))
        .execute();
    },
    close: async () => {
      await Promise.all(gateways.map((gateway) => gateway.close()));
      await db.drop();
    },
  };
}

/** Waits until the gateway acts on the newest route of the store. */
export async function seesRoutes(world: World, gateway: Gateway): Promise<void> {
  const { version } = await world.db.store
    .selectFrom('routes')
    .select((e) => e.fn.coalesce(e.fn.max('version'), e.lit(0)).as('version'))
    .executeTakeFirstOrThrow();
  await eventually('the gateway has read the routes', () => gateway.stats().routeVersion >= version);
}

/** Waits until nothing is in hand any more. */
export async function comesToRest(gateway: Gateway): Promise<void> {
  await eventually('counters at zero', () => {
    const { pending, inFlight, held } = gateway.stats();
    return pending === 0 && inFlight === 0 && held === 0;
  });
}
