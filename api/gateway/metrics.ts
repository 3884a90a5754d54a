import {
  AggregatorRegistry,
  Counter,
  Gauge,
  type Histogram,
  type OpenMetricsContentType,
  Registry,
} from 'prom-client';
import type { ANSWERS } from './errors.ts';
import type { Families } from './scrape.ts';

/** Numbers the scrape reads at the moment it comes. */
export interface MetricSource {
  requests: number;
  pending: number;
  inFlight: number;
  held: number;
  wakes: number;
  routeVersion: number;
  storeConnected: boolean;
}

/** Seconds. The first bucket is a cached answer, the last a cold start. */
const FIRST_BYTE_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** A histogram that counts without a call into the metrics library, which takes ten times as long. */
class FirstByteTimes {
  readonly name = 'gateway_first_byte_seconds';
  readonly #counts = Array.from({ length: FIRST_BYTE_BUCKETS.length + 1 }, () => 0);
  #sum = 0;

  observe(seconds: number): void {
    let bucket = 0;
    while (seconds > (FIRST_BYTE_BUCKETS[bucket] ?? Number.POSITIVE_INFINITY)) bucket += 1;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += seconds;
  }

  async get() {
    let count = 0;
    const values: { metricName: string; labels: object; value: number }[] = [];
    for (const [i, inBucket] of this.#counts.entries()) {
      count += inBucket;
      const le = FIRST_BYTE_BUCKETS[i] ?? '+Inf';
      values.push({ metricName: `${this.name}_bucket`, labels: { le }, value: count });
    }
    values.push({ metricName: `${this.name}_sum`, labels: {}, value: this.#sum });
    values.push({ metricName: `${this.name}_count`, labels: {}, value: count });
    const help = 'From the request to the response status, waiting included';
    return { name: this.name, help, type: 'histogram', values, aggregator: 'sum' };
  }
}

/**
 * What this process counts. Every number says by its label `pid` whose it is: of a sum over processes that come and go
 * no rate could be had. Nothing in it names an endpoint, so it needs no token; the API has the numbers by endpoint.
 */
export class Metrics {
  readonly #registry = new Registry();
  /** By the first digit of the status. Plain numbers here and below, read when a scrape comes: every request counts. */
  readonly #responses: number[] = Array.from({ length: 10 }, () => 0);
  readonly #refusals: Counter<'kind'>;
  readonly #retries: Counter;
  readonly #broken: Counter;
  readonly #firstByte = new FirstByteTimes();

  constructor(read: () => MetricSource) {
    this.#registry.setDefaultLabels({ pid: String(process.pid) });
    const registers = [this.#registry];
    const gauge = (name: string, help: string, value: (source: MetricSource) => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value(read()));
        },
      });
    gauge('gateway_accepted_requests', 'Requests let in since the start', (s) => s.requests);
    gauge('gateway_pending_requests', 'Accepted requests without a response status', (s) => s.pending);
    gauge('gateway_in_flight_requests', 'Requests and tunnels on a replica', (s) => s.inFlight);
    gauge('gateway_held_requests', 'Requests that wait for a ready replica', (s) => s.held);
    gauge('gateway_wake_signals', 'Wake signals sent since the start', (s) => s.wakes);
    gauge('gateway_route_version', 'Route version in force', (s) => s.routeVersion);
    gauge('gateway_store_connected', '1 while changes arrive from the store', (s) =>
      Number(s.storeConnected),
    );
    const responses = this.#responses;
    new Counter({
      name: 'gateway_responses',
      help: 'Responses of engines by class of status',
      labelNames: ['class'],
      registers,
      collect() {
        this.reset();
        for (const [digit, count] of responses.entries())
          if (count > 0) this.inc({ class: `${digit}xx` }, count);
      },
    });
    this.#refusals = new Counter({
      name: 'gateway_refusals',
      help: 'Answers given by the gateway itself, by kind',
      labelNames: ['kind'],
      registers,
    });
    this.#retries = new Counter({
      name: 'gateway_retries',
      help: 'Attempts repeated before the first byte',
      registers,
    });
    this.#broken = new Counter({
      name: 'gateway_broken_responses',
      help: 'Responses that a replica did not end',
      registers,
    });
    // The library's registry asks a metric for nothing but `get`.
    this.#registry.registerMetric(this.#firstByte as unknown as Histogram);
  }

  answered(status: number, ms: number): void {
    const digit = Math.floor(status / 100);
    this.#responses[digit] = (this.#responses[digit] ?? 0) + 1;
    this.#firstByte.observe(ms / 1000);
  }

  refused(kind: keyof typeof ANSWERS): void {
    this.#refusals.inc({ kind });
  }

  retried(): void {
    this.#retries.inc();
  }

  brokeOff(): void {
    this.#broken.inc();
  }

  families(): Promise<Families> {
    return this.#registry.getMetricsAsJSON();
  }
}

/** What several processes count, as OpenMetrics text. */
export async function openMetrics(all: Families[]): Promise<{ contentType: string; body: string }> {
  const merged = AggregatorRegistry.aggregate<OpenMetricsContentType>(all);
  merged.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return { contentType: merged.contentType, body: await merged.metrics() };
}
