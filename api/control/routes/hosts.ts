import { z } from 'zod';
import { EndpointsError } from '../../../spec/errors.ts';
import { engineMetrics } from '../../../spec/metrics.ts';
import {
  joinHost,
  PROGRESS_STAGES,
  reportProgress,
  reportUsage,
  setHostState,
} from '../../../store/hosts.ts';
import { readInstallation } from '../../../store/installation.ts';
import { liveImages } from '../../../store/live-images.ts';
import { reportEngineMetrics } from '../../../store/metrics.ts';
import { guard } from '../../auth/guard.ts';
import type { ControlApp, ControlDeps } from '../context.ts';

const hostId = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits and inner hyphens only');

const joinBody = z.object({
  hostId,
  name: z.string().min(1).max(253),
  address: z.string().min(1).max(253),
  publicKey: z.looseObject({ kty: z.string().min(1) }),
  inventory: z.object({
    cpus: z.number().positive(),
    memoryBytes: z.int().positive(),
    diskFreeBytes: z.int().nonnegative(),
    gpus: z.array(
      z.object({
        index: z.int().nonnegative(),
        model: z.string(),
        memoryBytes: z.int(),
        uuid: z.string().max(64).optional(),
        mig: z.boolean().optional(),
      }),
    ),
    gpuDriver: z.object({ version: z.string().max(32), cuda: z.string().max(16).nullable() }).nullish(),
    dockerVersion: z.string(),
    os: z.string(),
  }),
  vendor: z.string(),
  region: z.string(),
});

const joined = z.object({
  hostId: z.string(),
  installation: z.string(),
  temporal: z.object({ address: z.string(), namespace: z.string() }),
  hub: z.object({ endpoint: z.string() }),
});

/** A private part in what must be a public key means that the agent gave its secret away. */
const PRIVATE_JWK_PARTS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'];

const MAX_PROGRESS_TEXT = 500;
/** Of one host. */
const MAX_REPLICAS = 1000;

/** What host agents say to this installation. They have no access to the store. Not part of the public API. */
export function hostRoutes(app: ControlApp, deps: ControlDeps): void {
  const mayJoin = guard(deps.store, 'host.join');

  app.route({
    method: 'POST',
    url: '/internal/hosts/join',
    onRequest: mayJoin,
    schema: { hide: true, body: joinBody, response: { 200: joined } },
    handler: async (request) => {
      const host = request.body;
      const vendor = deps.config.vendors.find((v) => v.name === host.vendor);
      if (!vendor?.regions.some((r) => r.name === host.region))
        throw new EndpointsError(
          'VALIDATION_FAILED',
          `vendor, region: '${host.vendor}' '${host.region}' is not in the hardware catalogue of this installation`,
        );
      if (PRIVATE_JWK_PARTS.some((part) => part in host.publicKey))
        throw new EndpointsError(
          'VALIDATION_FAILED',
          'publicKey: holds a private key: make a new pair and send its public half',
        );
      const { wasReady } = await joinHost(deps.store, {
        ...host,
        id: host.hostId,
        provider: vendor.provider,
      });
      try {
        await deps.notify.hostJoined({ hostId: host.hostId }, { known: wasReady });
      } catch (error) {
        // The next join has to tell it again.
        if (!wasReady) await setHostState(deps.store, host.hostId, 'lost');
        // Without its workflow nobody watches the host, and without Temporal the agent can do nothing either.
        throw new EndpointsError(
          'UNAVAILABLE',
          `host '${host.hostId}' is known, but Temporal at ${deps.temporal.address} does not answer: join again in a moment`,
          { cause: error },
        );
      }
      return {
        hostId: host.hostId,
        installation: await readInstallation(deps.store),
        temporal: { address: deps.temporal.address, namespace: deps.temporal.namespace },
        hub: { endpoint: deps.config.hub.endpoint },
      };
    },
  });

  app.route({
    method: 'POST',
    url: '/internal/hosts/:hostId/progress',
    onRequest: mayJoin,
    schema: {
      hide: true,
      params: z.object({ hostId }),
      body: z.object({
        replicaId: z.string().min(1).max(64),
        stage: z.enum(PROGRESS_STAGES),
        message: z.string().max(MAX_PROGRESS_TEXT),
      }),
      response: { 200: z.object({ updated: z.boolean() }) },
    },
    handler: async (request) => ({
      updated: await reportProgress(deps.store, request.params.hostId, request.body),
    }),
  });

  app.route({
    method: 'POST',
    url: '/internal/hosts/:hostId/live-images',
    onRequest: mayJoin,
    schema: {
      hide: true,
      params: z.object({ hostId }),
      response: { 200: z.object({ images: z.array(z.string()) }) },
    },
    handler: async () => ({ images: await liveImages(deps.store) }),
  });

  app.route({
    method: 'POST',
    url: '/internal/hosts/:hostId/usage',
    onRequest: mayJoin,
    schema: {
      hide: true,
      params: z.object({ hostId }),
      body: z.object({
        replicas: z
          .array(
            z.object({
              replicaId: z.string().min(1).max(64),
              cpuPercent: z.number().min(0).max(1_000_000).nullable(),
              // Agents before 0.3 do not tell it.
              gpuPercent: z.number().min(0).max(100).nullable().default(null),
            }),
          )
          .max(MAX_REPLICAS),
      }),
      response: { 200: z.object({}) },
    },
    handler: async (request) => {
      await reportUsage(deps.store, request.params.hostId, request.body.replicas);
      return {};
    },
  });

  app.route({
    method: 'POST',
    url: '/internal/hosts/:hostId/engine-metrics',
    onRequest: mayJoin,
    schema: {
      hide: true,
      params: z.object({ hostId }),
      body: z.object({
        replicas: z
          .array(z.object({ replicaId: z.string().min(1).max(64), metrics: engineMetrics }))
          .max(MAX_REPLICAS),
      }),
      response: { 200: z.object({}) },
    },
    handler: async (request) => {
      await reportEngineMetrics(deps.store, request.params.hostId, request.body.replicas);
      return {};
    },
  });
}
