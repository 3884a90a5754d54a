import { addCounts, quantile } from '../../spec/histogram.ts';
import type { EngineMetrics, EngineTime, EngineTimes, EngineValue } from '../../spec/metrics.ts';
import type { MeasuredReplica, ReplicaAnswers } from '../../store/metrics.ts';

export const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

type Kind = 'gauge' | 'counter';

/** Engine numbers as families; counters start anew with every replica, as Prometheus expects of a process. */
const VALUES: Readonly<Record<EngineValue, [name: string, kind: Kind, help: string]>> = {
  running: ['engine_requests_running', 'gauge', 'Requests the engine computes'],
  waiting: ['engine_requests_waiting', 'gauge', 'Requests that wait inside the engine'],
  kvUsage: ['engine_kv_cache_usage_ratio', 'gauge', 'Share of the key-value cache in use'],
  promptTokens: ['engine_prompt_tokens', 'counter', 'Tokens read'],
  generatedTokens: ['engine_generated_tokens', 'counter', 'Tokens written'],
  successes: ['engine_requests_succeeded', 'counter', 'Requests the engine ended well'],
  failures: ['engine_requests_failed', 'counter', 'Requests the engine could not answer'],
};

const TIMES: Readonly<Record<EngineTime, [name: string, help: string]>> = {
  ttft: ['engine_time_to_first_token_seconds', 'From the request to its first token'],
  interTokenLatency: ['engine_inter_token_latency_seconds', 'Between two tokens of one answer'],
  requestLatency: ['engine_request_duration_seconds', 'From the request to the end of its answer'],
  queueTime: ['engine_queue_time_seconds', 'From the request to the begin of its computation'],
};

/** One endpoint's numbers in OpenMetrics: what the gateways, the hosts and the engines last said of it. */
export function openMetrics(
  replicas: readonly MeasuredReplica[],
  pendingRequests: number,
  answers: readonly ReplicaAnswers[],
): string {
  const lines = [
    ...family('replicas', 'gauge', 'Replicas by stage', [...countStages(replicas)]),
    ...family('requests_pending', 'gauge', 'Requests that no replica has answered yet', [
      ['', pendingRequests],
    ]),
    ...family(
      'requests_in_flight',
      'gauge',
      'Requests on a replica',
      replicas.map((replica) => [labelOf(replica), replica.inFlight]),
    ),
    ...family(
      'http_requests',
      'counter',
      'Answers of a replica by status',
      answers.map(({ replicaId, status, requests }) => [
        `replica_id="${replicaId}",status_code="${status}"`,
        requests,
      ]),
    ),
    ...latencies(answers),
    ...usage(replicas, 'cpuPercent', 'cpu_usage_percent', 'Share of its CPUs that a replica uses'),
    ...usage(
      replicas,
      'gpuPercent',
      'gpu_usage_percent',
      'Share of the time in which the GPUs of a replica compute',
    ),
  ];
  for (const [metric, [name, kind, help]] of Object.entries(VALUES)) {
    const samples = ofEngines(replicas, (engine) => engine.values[metric as EngineValue]);
    lines.push(...family(name, kind, help, samples));
  }
  for (const [metric, [name, help]] of Object.entries(TIMES)) {
    const samples = ofEngines(replicas, (engine) => engine.times[metric as EngineTime]);
    if (samples.length > 0) lines.push(...head(name, 'histogram', help, 'seconds'));
    for (const [labels, times] of samples) lines.push(...histogram(name, labels, times));
  }
  return `${[...lines, '# EOF'].join('\n')}\n`;
}

/** Nothing at all where no replica has such hardware. */
function usage(
  replicas: readonly MeasuredReplica[],
  of: 'cpuPercent' | 'gpuPercent',
  name: string,
  help: string,
): string[] {
  const samples = replicas.flatMap((replica) =>
    replica[of] === null ? [] : [[labelOf(replica), replica[of]] as const],
  );
  return samples.length > 0 || of === 'cpuPercent' ? family(name, 'gauge', help, samples, 'percent') : [];
}

const labelOf = ({ id }: MeasuredReplica): string => `replica_id="${id}"`;

function ofEngines<T>(
  replicas: readonly MeasuredReplica[],
  read: (engine: EngineMetrics) => T | undefined,
): (readonly [string, T])[] {
  return replicas.flatMap((replica) => {
    const value = replica.engine ? read(replica.engine) : undefined;
    return value === undefined ? [] : [[labelOf(replica), value] as const];
  });
}

function countStages(replicas: readonly MeasuredReplica[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { stage } of replicas) {
    const labels = `stage="${stage}"`;
    counts.set(labels, (counts.get(labels) ?? 0) + 1);
  }
  return counts;
}

function head(name: string, type: string, help: string, unit?: string): string[] {
  return [`# TYPE ${name} ${type}`, ...(unit ? [`# UNIT ${name} ${unit}`] : []), `# HELP ${name} ${help}`];
}

/** A family without a sample is left out: it would say that there is nothing, where nothing is known. */
function family(
  name: string,
  kind: Kind,
  help: string,
  samples: readonly (readonly [labels: string, value: number])[],
  unit?: string,
): string[] {
  if (samples.length === 0) return [];
  const ending = kind === 'counter' ? '_total' : '';
  const lines = samples.map(([labels, value]) => `${name}${ending}${labels ? `{${labels}}` : ''} ${value}`);
  return [...head(name, kind, help, unit), ...lines];
}

function histogram(name: string, labels: string, { count, sum, buckets }: EngineTimes): string[] {
  return [
    // OpenMetrics writes the bounds as floats.
    ...buckets.map(([le, n]) => `${name}_bucket{${labels},le="${float(le)}"} ${n}`),
    `${name}_bucket{${labels},le="+Inf"} ${count}`,
    `${name}_count{${labels}} ${count}`,
    `${name}_sum{${labels}} ${sum}`,
  ];
}

const QUANTILES = [0.5, 0.9, 0.95, 0.99] as const;

/** The public API's summary of how long answers took, over the replicas there are now since they began. */
function latencies(answers: readonly ReplicaAnswers[]): string[] {
  if (answers.length === 0) return [];
  const name = 'latency_distribution';
  const counts = answers.reduce<number[]>((sum, { durations }) => addCounts(sum, durations), []);
  const total = answers.reduce((sum, { requests }) => sum + requests, 0);
  const sumMs = answers.reduce((sum, { durationMs }) => sum + durationMs, 0);
  return [
    ...head(name, 'summary', 'From the request to the end of its answer, in seconds'),
    ...QUANTILES.map((q) => `${name}{quantile="${q}"} ${(quantile(counts, q) ?? 0) / 1000}`),
    `${name}_count ${total}`,
    `${name}_sum ${sumMs / 1000}`,
  ];
}

function float(value: number): string {
  return Number.isInteger(value) && value < 1e15 ? `${value}.0` : String(value);
}
