import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { EndpointSpec } from '../spec/endpoint.ts';
import type { Failure } from '../spec/errors.ts';
import type { Answers, HostInventory, WeightsPlan } from '../spec/lifecycle.ts';
import type { EngineMetrics } from '../spec/metrics.ts';
import type { DesiredPhase, EndpointState, ReplicaStage, Standby } from '../spec/states.ts';

/** The tables as Kysely sees them; made by the migrations in `migrations/`, which also say what each column is for. */
export interface Database {
  installation: { id: string };
  namespaces: NamespaceTable;
  users: UserTable;
  memberships: MembershipTable;
  tokens: TokenTable;
  endpoints: EndpointTable;
  revisions: RevisionTable;
  replicas: ReplicaTable;
  engine_metrics: EngineMetricsTable;
  hosts: HostTable;
  allocations: AllocationTable;
  routes: RouteTable;
  gateways: GatewayTable;
  gateway_load: GatewayLoadTable;
  audit: AuditTable;
  schedules: ScheduleTable;
}

/** Read as Date, written as Date, defaulted by the database. */
type CreatedAt = ColumnType<Date, Date | undefined, never>;
type UpdatedAt = ColumnType<Date, Date | undefined, Date>;
type Json<T extends object> = JSONColumnType<T, string, string>;
type NullableJson<T extends object> = JSONColumnType<T | null, string | null, string | null>;

interface NamespaceTable {
  name: string;
  kind: 'user' | 'organization';
  created_at: CreatedAt;
}

interface UserTable {
  id: string;
  name: string;
  email: string | null;
  created_at: CreatedAt;
}

interface MembershipTable {
  user_id: string;
  namespace: string;
  role: 'admin' | 'write' | 'read';
}

interface TokenTable {
  id: string;
  user_id: string;
  name: string;
  sha256: Buffer;
  last4: string;
  permissions: string[];
  created_at: CreatedAt;
  expires_at: Date | null;
  revoked_at: Date | null;
}

interface EndpointTable {
  id: string;
  namespace: string;
  name: string;
  spec: Json<EndpointSpec>;
  secrets: Buffer | null;
  phase: DesiredPhase;
  generation: number;
  revision: number;
  sleep_generation: number;
  observed_generation: Generated<number>;
  state: Generated<EndpointState>;
  message: Generated<string>;
  error_message: string | null;
  ready_replica: Generated<number>;
  target_replica: Generated<number>;
  created_at: CreatedAt;
  created_by: string;
  updated_at: UpdatedAt;
  updated_by: string;
  last_used_at: Date | null;
}

interface RevisionTable {
  endpoint_id: string;
  revision: number;
  spec: Json<EndpointSpec>;
  secrets: Buffer | null;
  weights: NullableJson<WeightsPlan>;
  /** The exact image its replicas run, once the first of them has it. */
  image: ColumnType<string | null, string | null | undefined, string | null>;
  created_at: CreatedAt;
}

interface ReplicaTable {
  id: string;
  endpoint_id: string;
  number: number;
  revision: number;
  stage: ReplicaStage;
  message: Generated<string>;
  host_id: string | null;
  failure: NullableJson<Failure>;
  created_at: CreatedAt;
  stage_since: UpdatedAt;
  ready_at: Date | null;
  stopped_at: Date | null;
  cpu_percent: ColumnType<number | null, number | null | undefined, number | null>;
  gpu_percent: ColumnType<number | null, number | null | undefined, number | null>;
  usage_at: ColumnType<Date | null, Date | null | undefined, Date | null>;
  /** How the container of a replica in stage `standby` is kept. */
  standby: ColumnType<Standby | null, Standby | null | undefined, Standby | null>;
}

interface EngineMetricsTable {
  replica_id: string;
  metrics: Json<EngineMetrics>;
  reported_at: UpdatedAt;
}

interface HostTable {
  id: string;
  name: string;
  provider: string;
  vendor: string;
  region: string;
  state: 'ready' | 'lost' | 'draining';
  /** Host-private address its containers are published on. */
  address: string;
  public_key: Json<Record<string, unknown>>;
  inventory: Json<HostInventory>;
  joined_at: CreatedAt;
  seen_at: UpdatedAt;
}

interface AllocationTable {
  replica_id: string;
  host_id: string;
  cpus: number;
  memory_bytes: number;
  gpus: number[];
}

interface RouteTable {
  replica_id: string;
  endpoint_id: string;
  address: string;
  /** The engine's key, encrypted at rest. */
  engine_key: Buffer;
  state: 'ready' | 'draining';
  /** Grows with every change of any route, so that gateways can say how far they have read. */
  version: Generated<number>;
}

interface GatewayTable {
  id: string;
  /** Highest route version this gateway acts on. */
  version: number;
  seen_at: UpdatedAt;
}

interface GatewayLoadTable {
  gateway_id: string;
  endpoint_id: string;
  /** Requests sent to a replica and not yet answered to the end, by replica id. */
  in_flight: Json<Record<string, number>>;
  /** What each routed replica answered this gateway since it was first routed there, by replica id. */
  answers: Json<Record<string, Answers>>;
  /** Requests accepted that have no response status yet (held ones included). */
  pending: number;
  /** Accepted requests since this gateway started. */
  requests: number;
  last_request_at: Date | null;
  reported_at: UpdatedAt;
}

interface ScheduleTable {
  endpoint_id: string;
  name: string;
  cron: string;
  time_zone: string;
  min_replica: number;
  max_replica: number;
  scale_to_zero_timeout: number | null;
  enabled: boolean;
  version: Generated<number>;
  fired_at: ColumnType<Date | null, Date | null | undefined, Date | null>;
  created_at: CreatedAt;
  updated_at: UpdatedAt;
  updated_by: string;
}

interface AuditTable {
  id: Generated<number>;
  created_at: CreatedAt;
  namespace: string;
  action: string;
  endpoint_id: string | null;
  endpoint_name: string | null;
  user_id: string;
  user_name: string;
  token_id: string | null;
  ip: string | null;
  user_agent: string | null;
  request_id: string | null;
  changes: NullableJson<{ path: string; before: unknown; after: unknown }[]>;
  message: string;
}
