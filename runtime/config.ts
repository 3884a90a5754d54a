import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parse, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { engineImagesSchema } from '../spec/engine-images.ts';
import { addressBlock, gatewaySettings } from '../spec/gateway.ts';
import { vendorSchema } from '../spec/hardware.ts';

const tcpPort = z.int().min(1).max(65_535);
const seconds = z.number().positive();

export const temporalConfigSchema = z.strictObject({
  address: z.string().min(1),
  namespace: z.string().min(1),
  retentionDays: z.int().min(1),
  taskQueues: z.strictObject({ control: z.string().min(1) }),
  workers: z.strictObject({
    control: z.strictObject({
      maxConcurrentActivities: z.int().positive(),
      maxConcurrentLocalActivities: z.int().positive(),
      maxConcurrentWorkflowTasks: z.int().min(2),
      maxCachedWorkflows: z.int().positive(),
      shutdownGraceSeconds: seconds,
    }),
    host: z.strictObject({
      maxConcurrentActivities: z.int().positive(),
      shutdownGraceSeconds: seconds,
      heartbeatThrottleSeconds: seconds,
    }),
  }),
  searchAttributes: z.array(z.string().min(1)).max(10),
  devServer: z.strictObject({
    version: z.string().min(1),
    dynamicConfig: z.record(z.string(), z.union([z.number(), z.string(), z.boolean()])),
    sqlitePragmas: z.record(z.string(), z.string()),
  }),
});
export type TemporalConfig = z.infer<typeof temporalConfigSchema>;

export const platformConfigSchema = z.strictObject({
  api: z.strictObject({ host: z.string().min(1), port: tcpPort, bodyLimitBytes: z.int().positive() }),
  gateway: z.strictObject({
    host: z.string().min(1),
    port: tcpPort,
    publicUrl: z.url().nullable(),
    domain: z
      .string()
      .regex(
        /^(?!-)[a-z0-9-]+(?:\.[a-z0-9-]+)+$/,
        'not a domain: write it in lower case, without a dot at the end',
      )
      .nullable()
      .default(null),
    ownHosts: z.array(z.string().min(1).toLowerCase()).default([]),
    tls: z
      .strictObject({
        certificates: z
          .array(z.strictObject({ certFile: z.string().min(1), keyFile: z.string().min(1) }))
          .min(1),
      })
      .nullable()
      .default(null),
    processes: z.int().min(1).max(256).default(1),
    holdSeconds: z.number().nonnegative(),
    maxHoldSeconds: seconds,
    maxHeldRequests: z.int().nonnegative(),
    maxHeldBytes: z.int().nonnegative(),
    maxHeldRequestsTotal: z.int().nonnegative().default(5000),
    maxHeldBytesTotal: z.int().nonnegative().default(268_435_456),
    replayBodyBytes: z.int().nonnegative(),
    accessLog: z.strictObject({ sample: z.number().min(0).max(1) }).default({ sample: 0 }),
    slowHeadSeconds: seconds.default(30),
    slowClientSeconds: seconds.default(60),
    trustedProxies: z.array(addressBlock).default([]),
    defaults: gatewaySettings.default({}),
    tracing: z.boolean().default(false),
    cacheBytes: z.int().nonnegative().default(67_108_864),
    usageDays: z.int().positive().default(400),
  }),
  lifecycle: z.strictObject({
    readyDeadlineSeconds: seconds,
    drainSeconds: z.number().nonnegative(),
    hostLostSeconds: seconds,
    maxStartFailures: z.int().positive(),
    retryBaseSeconds: seconds,
    retryMaxSeconds: seconds,
    janitorSeconds: seconds,
  }),
  rollout: z
    .strictObject({
      bakeSeconds: z.number().nonnegative(),
      bakeRequests: z.int().positive(),
      maxErrorPercent: z.number().min(0).max(100),
    })
    .default({ bakeSeconds: 60, bakeRequests: 500, maxErrorPercent: 5 }),
  placement: z.strictObject({ cpuOvercommit: z.number().min(1) }),
  images: z
    .strictObject({ minFreeGb: z.number().nonnegative(), minIdleMinutes: z.number().nonnegative() })
    .default({ minFreeGb: 10, minIdleMinutes: 60 }),
  hub: z.strictObject({
    endpoint: z.url(),
    parallelDownloads: z.int().positive(),
    partBytes: z.int().min(65_536),
  }),
  engines: engineImagesSchema,
  sample: z.strictObject({ name: z.string().min(1), repository: z.string().min(1), file: z.string().min(1) }),
  vendors: z.array(vendorSchema).min(1),
});
export type PlatformConfig = z.infer<typeof platformConfigSchema>;

/** A configuration file that is missing, unreadable or wrong; the message is one line and names file and key. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const ROOT = resolve(import.meta.dirname, '..');

/** Environment variables that override one key each: variable → [file key path, conversion]. */
const OVERRIDES = {
  temporal: { TEMPORAL_ADDRESS: 'address', TEMPORAL_NAMESPACE: 'namespace' },
  platform: {
    API_HOST: 'api.host',
    API_PORT: 'api.port',
    GATEWAY_HOST: 'gateway.host',
    GATEWAY_PORT: 'gateway.port',
    GATEWAY_PUBLIC_URL: 'gateway.publicUrl',
    GATEWAY_PROCESSES: 'gateway.processes',
    HF_ENDPOINT: 'hub.endpoint',
    ROLLOUT_BAKE_SECONDS: 'rollout.bakeSeconds',
    HOST_LOST_SECONDS: 'lifecycle.hostLostSeconds',
  },
} as const;

/**
 * Reads `temporal.yaml` (or the file `TEMPORAL_YAML` names) and applies the environment.
 * @throws ConfigError
 */
export function loadTemporalConfig(env: NodeJS.ProcessEnv = process.env): TemporalConfig {
  return load(
    env.TEMPORAL_YAML ?? resolve(ROOT, 'temporal.yaml'),
    temporalConfigSchema,
    OVERRIDES.temporal,
    env,
  );
}

/**
 * Reads `platform.yaml` (or the file `PLATFORM_YAML` names) and applies the environment.
 * @throws ConfigError
 */
export function loadPlatformConfig(env: NodeJS.ProcessEnv = process.env): PlatformConfig {
  return load(
    env.PLATFORM_YAML ?? resolve(ROOT, 'platform.yaml'),
    platformConfigSchema,
    OVERRIDES.platform,
    env,
  );
}

function load<T extends z.ZodType>(
  file: string,
  schema: T,
  overrides: Record<string, string>,
  env: NodeJS.ProcessEnv,
): z.infer<T> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code ?? error})`);
  }
  let tree: unknown;
  try {
    tree = parse(text);
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error;
    throw new ConfigError(`${file}: not valid YAML: ${error.message.split('\n')[0]}`);
  }
  for (const [variable, path] of Object.entries(overrides)) {
    const value = env[variable];
    if (value !== undefined && value !== '') setPath(tree, path.split('.'), value);
  }
  const parsed = schema.safeParse(tree);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path.join('.') || '(top level)';
  const variable = Object.entries(overrides).find(([name, key]) => key === path && env[name])?.[0];
  throw new ConfigError(`${file}: ${path}: ${issue?.message}${variable ? ` (set by ${variable})` : ''}`);
}

function setPath(tree: unknown, path: string[], value: string): void {
  const last = path.at(-1);
  let node = tree as Record<string, unknown>;
  for (const key of path.slice(0, -1)) {
    const next = node?.[key];
    if (typeof next !== 'object' || next === null) return;
    node = next as Record<string, unknown>;
  }
  if (last !== undefined && node) node[last] = /^\d+$/.test(value) ? Number(value) : value;
}

/** Where this installation keeps everything that must survive: `ENDPOINTS_DATA_DIR`, default `.data`. */
export function dataDir(env: NodeJS.ProcessEnv = process.env): string {
  return resolve(env.ENDPOINTS_DATA_DIR || resolve(ROOT, '.data'));
}

/**
 * Where downloads that any installation of this user can share are kept (Temporal binary, engine image, sample
 * weights): `ENDPOINTS_CACHE_DIR`, default `$XDG_CACHE_HOME/inference-endpoints`. Safe to delete.
 */
export function cacheDir(env: NodeJS.ProcessEnv = process.env): string {
  const base = env.XDG_CACHE_HOME || resolve(env.HOME || '/tmp', '.cache');
  return resolve(env.ENDPOINTS_CACHE_DIR || resolve(base, 'inference-endpoints'));
}
