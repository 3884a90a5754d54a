import { z } from 'zod';
import { endpointWithStatus } from '../../spec/endpoint.ts';
import { ERRORS, type ErrorCode } from '../../spec/errors.ts';
import { REPLICA_STAGES } from '../../spec/states.ts';

/** What goes over the wire besides the endpoint itself (`spec/endpoint.ts`). */

const timestamp = z.iso.datetime({ precision: 3 });

export const namespaceParams = z.object({ namespace: z.string().min(1).max(96) });
export const endpointParams = namespaceParams.extend({ name: z.string().min(1).max(64) });

export const pageLimit = z.coerce.number<string>().pipe(z.int().min(1).max(100));

export const errorBody = z
  .object({
    error: z.string().describe('What happened, to which field or thing, and what to do.'),
    code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
  })
  .meta({ id: 'ApiResponseError' });

export const empty = z.object({}).meta({ id: 'Empty' });

export const endpointList = z
  .object({
    items: z.array(endpointWithStatus),
    nextCursor: z.string().optional().describe('Give it as `cursor` to read on; absent on the last page.'),
  })
  .meta({ id: 'EndpointWithStatusList' });

export const replicas = z
  .object({
    items: z.array(
      z.object({
        id: z.string(),
        status: z.object({
          stage: z.enum(REPLICA_STAGES),
          message: z.string(),
          live: z.boolean().describe('Of the version that serves.'),
          updating: z.boolean().describe('Of the version that is rolled out.'),
          startedAt: timestamp.nullable(),
          stoppedAt: timestamp.nullable(),
          exitCode: z.int().nullable(),
        }),
      }),
    ),
  })
  .meta({ id: 'Replicas' });

const quota = z.object({
  maxAccelerators: z.int().describe('Used ones and those the hosts have room for.'),
  usedAccelerators: z.int(),
});
const compute = z.object({
  id: z.string(),
  accelerator: z.string(),
  instanceType: z.string(),
  instanceSize: z.string(),
  architecture: z.string(),
  numAccelerators: z.int().describe('1 where there is no accelerator, as in the public API.'),
  numCpus: z.int().optional().describe('Absent where a replica gets a fraction of a CPU.'),
  memoryGb: z.number(),
  gpuMemoryGb: z.number().nullable().describe('Of all accelerators of one replica together.'),
  pricePerHour: z.number(),
  status: z.string(),
  quota: quota.optional(),
});
export type Compute = z.infer<typeof compute>;
export const vendors = z
  .object({
    vendors: z.array(
      z.object({
        name: z.string(),
        status: z.string(),
        regions: z.array(
          z.object({
            name: z.string(),
            label: z.string(),
            status: z.string(),
            computes: z.array(compute),
          }),
        ),
      }),
    ),
  })
  .meta({ id: 'Vendors' });
export type Vendors = z.infer<typeof vendors>;

export const whoami = z
  .object({
    type: z.literal('user'),
    id: z.string(),
    name: z.string(),
    fullname: z.string(),
    email: z.string().nullable(),
    emailVerified: z.boolean(),
    isPro: z.boolean(),
    canPay: z.boolean(),
    avatarUrl: z.string(),
    orgs: z.array(
      z.object({
        type: z.literal('org'),
        name: z.string(),
        fullname: z.string(),
        roleInOrg: z.enum(['admin', 'write', 'read']),
      }),
    ),
    auth: z.object({
      type: z.literal('access_token'),
      accessToken: z.object({ displayName: z.string(), role: z.string(), createdAt: timestamp }),
    }),
  })
  .meta({ id: 'WhoAmI' });

export const auditLogs = z
  .object({
    list: z.array(
      z.object({
        id: z.string(),
        createdAt: timestamp,
        action: z.string(),
        endpoint: z.object({ id: z.string(), name: z.string() }).nullable(),
        user: z.object({ id: z.string(), name: z.string(), type: z.literal('user') }),
        token: z.object({ id: z.string(), type: z.literal('access-token') }).nullable(),
        ip: z.string().nullable(),
        userAgent: z.string().nullable(),
        requestId: z.string().nullable(),
        changes: z.array(z.object({ path: z.string(), before: z.unknown(), after: z.unknown() })).nullable(),
        message: z.string(),
      }),
    ),
    next_cursor: z.string().optional(),
  })
  .meta({ id: 'AuditLogs' });

/** The refusals any guarded route may answer with, for the API description. */
export const refusals = {
  400: errorBody,
  401: errorBody,
  403: errorBody,
  500: errorBody,
  503: errorBody,
};
export const refusalsOfOne = { ...refusals, 404: errorBody };
