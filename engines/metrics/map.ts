import {
  ENGINE_TIMES,
  ENGINE_VALUES,
  type EngineMetric,
  type EngineMetrics,
  type EngineTimes,
  MAX_BUCKETS,
} from '../../spec/metrics.ts';
import { readSamples, type Sample } from './exposition.ts';

/** A series of an engine: its name, or its name and what its labels must say. */
export type MetricSource = string | { name: string; where: Readonly<Record<string, RegExp>> };

/**
 * Our names → the engine's. Several are tried in their order, because engines rename: the first that is there counts.
 * The endings `_total`, `_bucket`, `_sum` and `_count` are left out.
 */
export type MetricMap = Readonly<Partial<Record<EngineMetric, MetricSource | readonly MetricSource[]>>>;

/**
 * An engine's own text of metrics under our names. Series that differ only by labels are one engine's parts and are
 * added up; of a share the fullest counts. What is missing, negative or unreadable is left out.
 */
export function readMetrics(text: string, map: MetricMap): EngineMetrics {
  const bases = new Set(Object.values(map).flat().map(nameOf));
  const samples = new Map<string, Sample[]>();
  for (const sample of readSamples(text, (name) => bases.has(baseOf(name, bases)))) {
    const known = samples.get(sample.name);
    if (known) known.push(sample);
    else samples.set(sample.name, [sample]);
  }
  const pick = <T>(metric: EngineMetric, read: (source: MetricSource) => T | null): T | null => {
    for (const source of [map[metric] ?? []].flat() as MetricSource[]) {
      const found = read(source);
      if (found !== null) return found;
    }
    return null;
  };
  const metrics: EngineMetrics = { values: {}, times: {} };
  for (const metric of ENGINE_VALUES) {
    const value = pick(metric, (source) => totalOf(samples, source, metric === 'kvUsage'));
    if (value !== null) metrics.values[metric] = value;
  }
  for (const metric of ENGINE_TIMES) {
    const times = pick(metric, (source) => timesOf(samples, source));
    if (times) metrics.times[metric] = times;
  }
  return metrics;
}

const nameOf = (source: MetricSource): string => (typeof source === 'string' ? source : source.name);

/** The name without the ending the format gave it, when that is one we look for. */
function baseOf(name: string, bases: ReadonlySet<string>): string {
  if (bases.has(name)) return name;
  return name.replace(/_(total|bucket|sum|count)$/, '');
}

type Samples = ReadonlyMap<string, readonly Sample[]>;

function matching(samples: Samples, source: MetricSource, ending: string): readonly Sample[] {
  const found = samples.get(nameOf(source) + ending) ?? [];
  if (typeof source === 'string') return found;
  const where = Object.entries(source.where);
  return found.filter(({ labels }) => where.every(([label, pattern]) => pattern.test(labels[label] ?? '')));
}

function totalOf(samples: Samples, source: MetricSource, share: boolean): number | null {
  // Series under conditions start with the first event that meets them: none of them is zero, if the name is there.
  const present = ['', '_total'].find((ending) => samples.has(nameOf(source) + ending));
  if (present === undefined) return null;
  const values = matching(samples, source, present).map(({ value }) => value);
  if (values.some((value) => value < 0)) return null;
  return share ? Math.max(0, ...values) : values.reduce((sum, value) => sum + value, 0);
}

function timesOf(samples: Samples, source: MetricSource): EngineTimes | null {
  const sum = add(matching(samples, source, '_sum'));
  const count = add(matching(samples, source, '_count'));
  if (sum === null || count === null) return null;
  const buckets = new Map<number, number>();
  for (const { labels, value } of matching(samples, source, '_bucket')) {
    const bound = Number(labels.le);
    if (Number.isFinite(bound) && bound >= 0) buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  const ascending = [...buckets].sort(([a], [b]) => a - b).slice(0, MAX_BUCKETS);
  return ascending.some(([, n]) => n < 0) ? null : { sum, count, buckets: ascending };
}

function add(samples: readonly Sample[]): number | null {
  if (samples.length === 0) return null;
  const sum = samples.reduce((total, { value }) => total + value, 0);
  return sum >= 0 ? sum : null;
}
