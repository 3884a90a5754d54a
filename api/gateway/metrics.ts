import { Counter, Gauge, Histogram, type OpenMetricsContentType, Registry } from 'prom-client';
import type { ANSWERS } from './errors.ts';

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

/** The process in OpenMetrics. Nothing in it names an endpoint, so it needs no token; the API has the numbers by endpoint. */
export class Metrics {
  readonly #registry = new Registry<OpenMetricsContentType>();
  /** By the first digit of the status; looked up once, because every request counts. */
  readonly #responses: readonly Counter.Internal[];
  readonly #refusals: Counter<'kind'>;
  readonly #retries: Counter;
  readonly #broken: Counter;
  readonly #firstByte: Histogram;

  constructor(read: () => MetricSource) {
    this.#registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
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
    const responses = new Counter({
      name: 'gateway_responses',
      help: 'Responses of engines by class of status',
      labelNames: ['class'],
      registers,
    });
    this.#responses = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((digit) => responses.labels(`${digit}xx`));
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
    this.#firstByte = new Histogram({
      name: 'gateway_first_byte_seconds',
      help: 'From the request to the response status, waiting included',
      buckets: FIRST_BYTE_BUCKETS,
      registers,
    });
  }

  answered(status: number, ms: number): void {
    this.#responses[Math.floor(status / 100)]?.inc();
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

  async text(): Promise<{ contentType: string; body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }
}
