import { z } from 'zod';
import { EndpointsError } from '../../spec/errors.ts';

/** A span of time in equal steps, and graphs over it in the public API's shape. */

const DAY_SECONDS = 86_400;
const MAX_STEPS = 5000;
const DEFAULT_SPAN_SECONDS = 3600;

const moment = z.union([z.int().nonnegative().max(253_402_300_799), z.iso.datetime()]);

/** All of it may be left out, the body too: the last hour by the minute. */
export const graphParams = z
  .object({
    from: moment.nullish().describe('Seconds since the epoch, or a time in ISO 8601.'),
    to: moment.nullish(),
    step: z
      .union([
        z.int().positive(),
        z.string().regex(/^\d{1,6}[smhd]?$/, "not a step: write it as '60s' or '5m'"),
      ])
      .nullish(),
  })
  .nullish();
export type GraphParams = z.infer<typeof graphParams>;

export interface Steps {
  from: Date;
  to: Date;
  seconds: number;
}

/**
 * What was asked for, with both ends on a step; minutes are the finest there are.
 * @throws EndpointsError VALIDATION_FAILED when it ends before it begins or has too many steps
 */
export function steps(params: GraphParams, now: number, maxSteps = MAX_STEPS): Steps {
  const seconds = Math.max(Math.ceil(stepSeconds(params?.step) / 60) * 60, 60);
  const stepMs = seconds * 1000;
  const to = Math.ceil(time(params?.to, now) / stepMs) * stepMs;
  const from = Math.floor(time(params?.from, to - DEFAULT_SPAN_SECONDS * 1000) / stepMs) * stepMs;
  if (from >= to)
    throw new EndpointsError('VALIDATION_FAILED', `from: the span ends before it begins: 'to' must be later`);
  if ((to - from) / stepMs > maxSteps)
    throw new EndpointsError(
      'VALIDATION_FAILED',
      `step: more than ${maxSteps} steps: ask for a shorter span or a longer step than ${seconds} s`,
    );
  return { from: new Date(from), to: new Date(to), seconds };
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: DAY_SECONDS };

function stepSeconds(step: string | number | null | undefined): number {
  if (typeof step === 'number') return step;
  const [, count = '60', unit = 's'] = /^(\d+)([smhd]?)$/.exec(step ?? '60') ?? [];
  return Math.max(Number(count), 1) * (UNITS[unit || 's'] ?? 1);
}

function time(moment: string | number | null | undefined, otherwise: number): number {
  if (moment === null || moment === undefined) return otherwise;
  return typeof moment === 'number' ? moment * 1000 : Date.parse(moment);
}

const points = z.array(z.object({ x: z.iso.datetime({ precision: 3 }), y: z.number() }));
export type Points = z.infer<typeof points>;

function graph<K extends string>(label: K, id: string) {
  const series = z.object({ [label]: z.string(), data: points } as Record<K, z.ZodString> & {
    data: typeof points;
  });
  return z
    .object({ start: z.string(), stop: z.string(), timeWindowSeconds: z.int(), series: z.array(series) })
    .meta({ id });
}

export const statusGraph = graph('statusCode', 'GraphStatusCode');
export const elapsedGraph = graph('percentile', 'GraphElapsed');
export const pendingGraph = graph('status', 'GraphPendingRequest');

/** What all graphs have in common. */
export function axis({ from, to, seconds }: Steps) {
  return { start: from.toISOString(), stop: to.toISOString(), timeWindowSeconds: seconds };
}

/** One value for every step; `value` is asked for the step that begins at this time (milliseconds since the epoch). */
export function everyStep(span: Steps, value: (at: number) => number): Points {
  const all: Points = [];
  for (let at = span.from.getTime(); at < span.to.getTime(); at += span.seconds * 1000)
    all.push({ x: new Date(at).toISOString(), y: value(at) });
  return all;
}
