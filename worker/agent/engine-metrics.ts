import type Docker from 'dockerode';
import { Agent, request } from 'undici';
import { engineKeyOf } from '../../activities/containers/create.ts';
import { inspectContainer } from '../../activities/containers/docker.ts';
import type { ReplicaRecord, ReplicaRecords } from '../../activities/containers/records.ts';
import { engineNamed } from '../../engines/index.ts';
import { type MetricMap, readMetrics } from '../../engines/metrics/map.ts';
import type { EngineMetrics } from '../../spec/metrics.ts';

const ROUTE = '/metrics';
/** Engines answer this beside the model, in milliseconds; one that is stuck is the watch's business. */
const TIMEOUT_MS = 3000;
/** vLLM's text has some tens of kilobytes; one that has more than this is not metrics, or not meant for us. */
const MAX_BYTES = 2 * 1024 ** 2;

export interface ReplicaMetrics {
  replicaId: string;
  metrics: EngineMetrics;
}

/** A connection of its own for every question, as for probes. */
const dispatcher = new Agent({ pipelining: 0 });

/**
 * Asks the engine of every ready replica of this host for its metrics and puts them under our names. One that has none,
 * does not answer, or says something else is left out, as is one that has counted nothing yet (TEI before its first
 * request).
 */
export class EngineMetricsReader {
  readonly #docker: Docker;
  readonly #records: ReplicaRecords;

  constructor(docker: Docker, records: ReplicaRecords) {
    this.#docker = docker;
    this.#records = records;
  }

  async look(): Promise<ReplicaMetrics[]> {
    const ready = (await this.#records.all()).filter(({ readyAt }) => readyAt);
    const read = await Promise.all(ready.map((record) => this.#read(record)));
    return read.filter((found) => found !== null);
  }

  async #read({ plan, containerId, address }: ReplicaRecord): Promise<ReplicaMetrics | null> {
    const { engine } = plan.readiness;
    const { metrics: map } = engineNamed(engine);
    if (!map) return null;
    const info = await inspectContainer(this.#docker, containerId).catch(() => null);
    const metrics = await scrape(address, info && engineKeyOf(info, engine), map);
    const empty = !metrics || Object.keys({ ...metrics.values, ...metrics.times }).length === 0;
    return empty ? null : { replicaId: plan.replicaId, metrics };
  }
}

/** One engine's metrics; null when they cannot be had, which is no failure of the replica. */
export async function scrape(
  address: string,
  key: string | null,
  map: MetricMap,
): Promise<EngineMetrics | null> {
  try {
    const { statusCode, body } = await request(new URL(ROUTE, address), {
      dispatcher,
      headers: key ? { authorization: `Bearer ${key}` } : {},
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (statusCode !== 200) {
      await body.dump();
      return null;
    }
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > MAX_BYTES) return null;
      chunks.push(chunk);
    }
    return readMetrics(Buffer.concat(chunks).toString('utf8'), map);
  } catch {
    return null;
  }
}
