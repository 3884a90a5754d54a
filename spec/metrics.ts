import { z } from 'zod';

/** Numbers every engine is asked for under one name of ours, whatever it calls them. */
export const ENGINE_VALUES = [
  /** Requests the engine computes now. */
  'running',
  /** Requests it has taken and not begun. */
  'waiting',
  /** Share of the key-value cache in use, 0 to 1. */
  'kvUsage',
  /** Since the engine started, as all that follow. */
  'promptTokens',
  'generatedTokens',
  'successes',
  'failures',
] as const;
export type EngineValue = (typeof ENGINE_VALUES)[number];

/** Times every engine is asked for, in seconds, as it has counted them since it started. */
export const ENGINE_TIMES = ['ttft', 'interTokenLatency', 'requestLatency', 'queueTime'] as const;
export type EngineTime = (typeof ENGINE_TIMES)[number];

export type EngineMetric = EngineValue | EngineTime;

/** More buckets than any engine has; a longer list is cut by whoever reads the engine. */
export const MAX_BUCKETS = 64;

const finite = z.number().nonnegative();
const times = z.object({
  count: finite,
  sum: finite,
  /** Upper bound in seconds → how many were at most that long; ascending, without the one to infinity. */
  buckets: z.array(z.tuple([finite, finite])).max(MAX_BUCKETS),
});
export type EngineTimes = z.infer<typeof times>;

/** What one replica's engine says of itself; a metric it does not have is left out. */
export const engineMetrics = z.object({
  values: z.partialRecord(z.enum(ENGINE_VALUES), finite),
  times: z.partialRecord(z.enum(ENGINE_TIMES), times),
});
export type EngineMetrics = z.infer<typeof engineMetrics>;
