import { z } from 'zod';
import { customDomain } from './domain.ts';
import { type GatewaySettings, gatewaySettings } from './gateway.ts';
import { type Image, imageSchema } from './images.ts';
import { ENDPOINT_NAME } from './names.ts';
import { ENDPOINT_STATES, ENDPOINT_TYPES, STANDBY_MODES, type Standby } from './states.ts';

/**
 * The public API's endpoint, as it is written (`endpointCreate`, `endpointUpdate`) and read (`endpointWithStatus`).
 * Unknown keys are dropped, not refused, because clients of several ages send keys of their own (`accountId`).
 */

const envMap = z.record(
  z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'not a valid environment variable name')
    .max(256),
  z.string().max(32_768),
);

const measure = z
  .union([
    z.strictObject({ pendingRequests: z.number().positive().nullable() }),
    z.strictObject({ hardwareUsage: z.number().positive().max(100).nullable() }),
  ])
  .describe(
    'Metric and threshold in one; a null threshold takes the default (1.5 pending requests, 80 % usage).',
  );

const scalingFields = {
  /** Default 1. */
  minReplica: z.int().min(0).max(1000).optional(),
  /** Default 1, or `minReplica` where that is more. */
  maxReplica: z.int().min(0).max(1000).optional(),
  /** Minutes without a request after which the last replica is stopped; needs `minReplica` 0. */
  scaleToZeroTimeout: z.int().min(1).max(525_600).nullish(),
  measure: measure.nullish(),
  /** Older form of `measure`; ignored when `measure` is present. */
  metric: z.enum(['hardwareUsage', 'pendingRequests']).nullish(),
  threshold: z.number().positive().nullish(),
  standby: z
    .enum(STANDBY_MODES)
    .describe(
      'Extension: what is kept while the endpoint is scaled to zero. `none`: nothing; `stopped`: one container, not running; `frozen`: one container, paused with its memory, until another replica needs the room.',
    )
    .nullish(),
};

/** As it is read: there may be older ones in the store than are taken now. */
const route = z.object({
  domain: z.string().max(253).nullish(),
  path: z.string().startsWith('/').max(256).nullish(),
});
const routeRequest = route.extend({ domain: customDomain.nullish() });

const modelFields = {
  /** Hub repository, `owner/name` (or a bare legacy name); mounted read-only at `/repository` in the container. */
  repository: z
    .string()
    .regex(/^[\w.-]{1,96}(?:\/[\w.-]{1,96})?$/, "not a Hub repository: write it as 'owner/name'"),
  /** Default: what suits the engine. */
  framework: z.enum(['custom', 'pytorch', 'llamacpp']).optional(),
  /** Default: the engine that suits the model. */
  image: imageSchema.optional(),
  /** Branch, tag or commit; default: the newest commit of `main`. Pinned to a commit when the revision is made. */
  revision: z.string().min(1).max(256).nullish(),
  task: z.string().min(1).max(64).nullish(),
  env: envMap.optional(),
  secrets: envMap.optional(),
  command: z.array(z.string()).max(64).nullish(),
  args: z.array(z.string()).max(256).nullish(),
  fromCatalog: z.boolean().optional(),
};

const type = z.enum(ENDPOINT_TYPES);
const tags = z.array(z.string().min(1).max(64)).max(64);
const provider = z.object({ vendor: z.string().min(1), region: z.string().min(1) });
const hardware = z.object({
  accelerator: z.enum(['cpu', 'gpu', 'neuron']),
  instanceType: z.string().min(1),
  instanceSize: z.string().min(1),
});
const scaling = z.object(scalingFields);
/** What is left out is chosen: the smallest hardware that fits the model, of what is given. */
const computeRequest = hardware.partial().extend({ scaling: scaling.optional() });
const model = z.object(modelFields);

export const endpointCreate = z
  .object({
    name: z
      .string()
      .regex(ENDPOINT_NAME, 'lower-case letters, digits and inner hyphens only, 1 to 32 characters'),
    type: type.default('authenticated'),
    provider: provider.partial().optional(),
    compute: computeRequest.optional(),
    model,
    tags: tags.nullish(),
    route: routeRequest.nullish(),
    cacheHttpResponses: z.boolean().nullish(),
    experimentalFeatures: z.record(z.string(), z.unknown()).nullish(),
    gateway: gatewaySettings.nullish(),
  })
  .meta({ id: 'Endpoint' });
export type EndpointCreate = z.infer<typeof endpointCreate>;

/** A create request in which everything is said, by its owner or for them. */
export interface CompleteCreate extends Omit<EndpointCreate, 'provider' | 'compute' | 'model'> {
  provider: z.infer<typeof provider>;
  compute: z.infer<typeof hardware> & { scaling?: z.infer<typeof scaling> | undefined };
  model: Omit<EndpointCreate['model'], 'framework' | 'image'> & {
    framework: 'custom' | 'pytorch' | 'llamacpp';
    image: Image;
  };
}

/** Absent means unchanged. `image`, `args`, `command`, `env`, `secrets` and `tags` are replaced as a whole. */
export const endpointUpdate = z
  .object({
    type: type.optional(),
    compute: computeRequest.optional(),
    model: model.omit({ fromCatalog: true }).partial().optional(),
    tags: tags.optional(),
    route: routeRequest.nullish(),
    cacheHttpResponses: z.boolean().nullish(),
    experimentalFeatures: z.record(z.string(), z.unknown()).nullish(),
    gateway: gatewaySettings.nullish(),
  })
  .meta({ id: 'EndpointUpdate' });
export type EndpointUpdate = z.infer<typeof endpointUpdate>;

/** An update whose image, if it has one, says everything. */
export interface CompleteUpdate extends Omit<EndpointUpdate, 'model'> {
  model?: (Omit<NonNullable<EndpointUpdate['model']>, 'image'> & { image?: Image | undefined }) | undefined;
}

/** Scaling after defaults: what the store keeps and the autoscaler reads. */
export interface Scaling {
  minReplica: number;
  maxReplica: number;
  /** Minutes; null when the endpoint never sleeps by itself (`minReplica` above 0). */
  scaleToZeroTimeout: number | null;
  measure: { pendingRequests: number | null } | { hardwareUsage: number | null } | null;
  /** How one container is kept while the endpoint is at zero; absent: none is, and clients see nothing of it. */
  standby?: Standby;
}

/**
 * What the owner wants, after validation and defaults. Stored as JSON with the endpoint and snapshotted per revision.
 * Values that must not be readable (`secrets`, registry credentials) are kept apart, encrypted: see `EndpointSecrets`.
 */
export interface EndpointSpec {
  type: (typeof ENDPOINT_TYPES)[number];
  provider: { vendor: string; region: string };
  compute: {
    accelerator: 'cpu' | 'gpu' | 'neuron';
    instanceType: string;
    instanceSize: string;
    scaling: Scaling;
  };
  model: {
    repository: string;
    framework: 'custom' | 'pytorch' | 'llamacpp';
    image: Image;
    revision: string | null;
    task: string | null;
    env: Record<string, string>;
    /** Names only; the values are in `EndpointSecrets`. */
    secretNames: string[];
    command: string[];
    args: string[];
    fromCatalog: boolean;
  };
  tags: string[];
  route: { domain?: string | null | undefined; path?: string | null | undefined } | null;
  cacheHttpResponses: boolean;
  experimentalFeatures: Record<string, unknown>;
  /** Absent in what was stored before there was such a key. */
  gateway?: GatewaySettings;
}

/** The secret part of an endpoint; encrypted at rest, sealed for one host when a container starts. */
export interface EndpointSecrets {
  env: Record<string, string>;
  registry: { username: string; password: string } | null;
}

const actor = z.object({ id: z.string(), name: z.string() });
const timestamp = z.iso.datetime({ precision: 3 });

export const endpointStatus = z
  .object({
    state: z.enum(ENDPOINT_STATES),
    message: z.string(),
    errorMessage: z.string().nullable(),
    /** Where requests go; null while paused. */
    url: z.string().nullable(),
    readyReplica: z.int().min(0),
    targetReplica: z.int().min(0),
    createdAt: timestamp,
    updatedAt: timestamp,
    createdBy: actor,
    updatedBy: actor,
    lastUsedAt: timestamp.nullable(),
    private: z.object({ serviceName: z.string().nullish() }).nullable(),
  })
  .meta({ id: 'EndpointStatus' });
export type EndpointStatus = z.infer<typeof endpointStatus>;

export const endpointWithStatus = z
  .object({
    name: z.string(),
    type,
    provider,
    compute: hardware.extend({
      id: z.string(),
      scaling: z.object({
        minReplica: z.int(),
        maxReplica: z.int(),
        scaleToZeroTimeout: z.int().nullable(),
        measure: measure.nullable(),
        standby: z.enum(STANDBY_MODES).optional().describe('Extension; absent is `none`.'),
      }),
    }),
    model: z.object({
      repository: z.string(),
      framework: z.string(),
      /** Registry credentials come back redacted, as `{"username":"","password":null}`. */
      image: z.record(z.string(), z.record(z.string(), z.unknown())),
      revision: z.string().nullable(),
      task: z.string().nullable(),
      env: z.record(z.string(), z.string()),
      /** Names with empty values: what is secret is never sent back. */
      secrets: z.record(z.string(), z.literal('')),
      command: z.array(z.string()),
      args: z.array(z.string()),
      fromCatalog: z.boolean(),
    }),
    tags: z.array(z.string()),
    healthRoute: z.string(),
    route: route.nullable(),
    cacheHttpResponses: z.boolean(),
    experimentalFeatures: z.record(z.string(), z.unknown()),
    gateway: gatewaySettings,
    notifications: z.record(z.string(), z.unknown()),
    privateService: z.null(),
    network: z.null(),
    status: endpointStatus,
  })
  .meta({ id: 'EndpointWithStatus' });
export type EndpointWithStatus = z.infer<typeof endpointWithStatus>;
