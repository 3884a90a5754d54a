import { z } from 'zod';
import { cronProblem, timeZoneProblem } from './cron.ts';
import { EndpointsError } from './errors.ts';
import { ENDPOINT_NAME } from './names.ts';

/**
 * Scheduled scaling, an extension of the public API: at the times of a cron expression the endpoint's bounds become
 * these, as if its owner had written them then.
 */

const said = (problem: (text: string) => string | null) => (text: string, context: z.RefinementCtx) => {
  const message = problem(text);
  if (message) context.addIssue({ code: 'custom', message });
};

const fields = {
  cron: z
    .string()
    .max(200)
    .superRefine(said(cronProblem))
    .describe('Minute, hour, day of month, month, day of week: `30 8 * * mon-fri`.'),
  timeZone: z
    .string()
    .max(64)
    .superRefine(said(timeZoneProblem))
    .describe('A name of the IANA database, such as `Europe/Berlin`; the clock of `cron`.'),
  minReplica: z.int().min(0).max(1000),
  maxReplica: z.int().min(1).max(1000),
  scaleToZeroTimeout: z
    .int()
    .min(1)
    .max(525_600)
    .nullable()
    .describe('Minutes; needs `minReplica` 0. Null leaves what the endpoint has.'),
  enabled: z.boolean(),
};

export const scheduleName = z
  .string()
  .regex(ENDPOINT_NAME, 'lower-case letters, digits and inner hyphens only, 1 to 32 characters');

export const scheduleCreate = z
  .object({
    name: scheduleName,
    ...fields,
    timeZone: fields.timeZone.default('UTC'),
    scaleToZeroTimeout: fields.scaleToZeroTimeout.default(null),
    enabled: fields.enabled.default(true),
  })
  .meta({ id: 'ScalingSchedule' });

/** Absent means unchanged. */
export const scheduleUpdate = z.object(fields).partial().meta({ id: 'ScalingScheduleUpdate' });

const timestamp = z.iso.datetime({ precision: 3 });

export const scheduleWithStatus = z
  .object({
    name: z.string(),
    cron: z.string(),
    timeZone: z.string(),
    minReplica: z.int(),
    maxReplica: z.int(),
    scaleToZeroTimeout: z.int().nullable(),
    enabled: z.boolean(),
    createdAt: timestamp,
    updatedAt: timestamp,
    lastFiredAt: timestamp.nullable().describe('The moment it was last due and done.'),
  })
  .meta({ id: 'ScalingScheduleWithStatus' });

/** One rule: when, and what the bounds are from then on. */
export interface ScalingSchedule {
  name: string;
  cron: string;
  timeZone: string;
  minReplica: number;
  maxReplica: number;
  scaleToZeroTimeout: number | null;
  enabled: boolean;
}

/** @throws EndpointsError VALIDATION_FAILED where two fields contradict each other */
export function checkSchedule(rule: ScalingSchedule): ScalingSchedule {
  const { minReplica, maxReplica, scaleToZeroTimeout } = rule;
  if (minReplica > maxReplica)
    throw new EndpointsError(
      'VALIDATION_FAILED',
      `minReplica: ${minReplica} is above maxReplica ${maxReplica}`,
    );
  if (scaleToZeroTimeout !== null && minReplica > 0)
    throw new EndpointsError(
      'VALIDATION_FAILED',
      `scaleToZeroTimeout: ${scaleToZeroTimeout} needs minReplica 0, and minReplica is ${minReplica}`,
    );
  return rule;
}

/** The id of the Temporal Schedule that carries a rule out. */
export function scheduleId(endpointId: string, name: string): string {
  return `scaling/${endpointId}/${name}`;
}
