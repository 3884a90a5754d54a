import { z } from 'zod';

/** What a plan looks like on the wire: an extension of the public API. */

const bytes = z.number().describe('Bytes.');

export const fitSchema = z
  .object({
    fits: z.boolean(),
    message: z.string().describe('The arithmetic in a sentence.'),
    weightsBytes: bytes,
    cacheBytes: bytes,
    overheadBytes: bytes,
    neededBytes: bytes,
    usableBytes: z
      .number()
      .describe('Of one GPU, or of the main memory; the other sizes are per device too.'),
    context: z.int().describe('Tokens of one request.'),
    longestContext: z.int().nullable(),
    gpusPerCopy: z.int(),
  })
  .meta({ id: 'Fit' });

const engine = z.object({ name: z.string(), variant: z.string(), reason: z.string() });
const priced = z.object({
  currency: z.literal('USD'),
  replicaHour: z.number(),
  minHour: z.number().describe('With `minReplica` replicas.'),
  maxHour: z.number(),
});
const place = z.object({
  vendor: z.string(),
  region: z.string(),
  accelerator: z.string(),
  instanceType: z.string(),
  instanceSize: z.string(),
  machineType: z.string().nullable(),
  missing: z.string().nullable().describe('Why no replica can be started there; null when one can.'),
  roomForReplicas: z.int().nullable().describe('On the hosts that have joined, now.'),
});

export const modelSchema = z
  .object({
    repository: z.string(),
    commit: z.string(),
    task: z.string().nullable(),
    library: z.string().nullable(),
    licence: z.string().nullable(),
    gated: z.boolean(),
    private: z.boolean(),
    architecture: z.string().nullable(),
    parameters: z
      .number()
      .nullable()
      .describe('Stored numbers; packed formats hold several parameters in one.'),
    contextLength: z.int().nullable(),
    chatTemplate: z.boolean().nullable(),
    downloadBytes: bytes.nullable().describe('Of the files the engine takes.'),
  })
  .meta({ id: 'ModelFacts' });

/** The part of a create request that says what is run and where. */
const runs = z.object({
  provider: z.object({ vendor: z.string(), region: z.string() }),
  compute: z.object({ accelerator: z.string(), instanceType: z.string(), instanceSize: z.string() }),
  model: z.object({
    repository: z.string(),
    framework: z.string(),
    task: z.string().nullable(),
    image: z.record(z.string(), z.record(z.string(), z.unknown())),
    args: z.array(z.string()),
  }),
});

export const planSchema = z
  .object({
    dryRun: z.literal(true),
    name: z.string(),
    type: z.string(),
    ...runs.shape,
    scaling: z.record(z.string(), z.unknown()),
    engine,
    container: z.object({
      image: z.string(),
      entrypoint: z.array(z.string()),
      args: z.array(z.string()),
      env: z.array(z.string()).describe('Names only.'),
      secrets: z.array(z.string()).describe('Names only.'),
      mounts: z.array(z.object({ source: z.string(), target: z.string(), readOnly: z.boolean() })),
      devices: z.array(z.object({ kind: z.literal('gpu'), count: z.int() })),
      port: z.int(),
      healthRoute: z.string().nullable(),
      cpus: z.number(),
      memoryBytes: bytes,
      sharedMemoryBytes: bytes,
      stopSignal: z.string(),
      stopGraceMs: z.int(),
    }),
    modelFacts: modelSchema.nullable().describe('Null when the Hub did not answer.'),
    fit: fitSchema.nullable().describe('Null where size or layout are not known.'),
    placement: place,
    price: priced,
    changes: z
      .array(z.object({ path: z.string(), before: z.unknown(), after: z.unknown() }))
      .optional()
      .describe('Of an update.'),
    newContainers: z.boolean().optional().describe('Whether the update replaces the running replicas.'),
    warnings: z.array(z.string()),
  })
  .meta({ id: 'Plan' });
export type Plan = z.infer<typeof planSchema>;

const option = runs.extend({ engine, fit: fitSchema.nullable(), placement: place, price: priced });

export const recommendationSchema = z
  .object({
    model: modelSchema,
    recommended: option.describe('`provider`, `compute` and `model` can be sent as a create request.'),
    alternatives: z.array(option.extend({ reason: z.string() })),
    unsuited: z.array(z.object({ variant: z.string(), reason: z.string() })),
    warnings: z.array(z.string()),
  })
  .meta({ id: 'Recommendation' });
export type Recommendation = z.infer<typeof recommendationSchema>;
export type Option = z.infer<typeof option>;
