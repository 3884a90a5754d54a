import type { JWK } from 'jose';
import { z } from 'zod';
import type { HostInventory } from '../../spec/lifecycle.ts';
import type { ReplicaStage } from '../../spec/states.ts';
import type { ReplicaMetrics } from './engine-metrics.ts';
import type { ReplicaUsage } from './usage.ts';

const REQUEST_TIMEOUT_MS = 10_000;

const joined = z.object({
  hostId: z.string(),
  installation: z.string(),
  temporal: z.object({ address: z.string(), namespace: z.string() }),
  hub: z.object({ endpoint: z.string() }),
});
/** What a host must know of the installation it belongs to. */
export type Joined = z.infer<typeof joined>;

export interface JoinRequest {
  hostId: string;
  name: string;
  address: string;
  publicKey: JWK;
  inventory: HostInventory;
  vendor: string;
  region: string;
}

/** The API refused in a way that trying again does not change: a wrong token, an unknown region. */
export class JoinRefused extends Error {
  override readonly name = 'JoinRefused';
}

/** The host agent's view of the control API. */
export class ControlApi {
  readonly #base: string;
  readonly #token: string;

  constructor(base: string, token: string) {
    this.#base = base.replace(/\/$/, '');
    this.#token = token;
  }

  /** @throws JoinRefused; any other error may pass by itself */
  async join(request: JoinRequest): Promise<Joined> {
    const response = await this.#post('/internal/hosts/join', request);
    if (response.ok) return joined.parse(await response.json());
    const text = (await response.text()).slice(0, 500);
    const message = `the control API at ${this.#base} answered ${response.status} to the join: ${text}`;
    const final =
      response.status >= 400 && response.status < 500 && ![404, 408, 429].includes(response.status);
    throw final ? new JoinRefused(message) : new Error(message);
  }

  /** @throws Error when it was not taken */
  async progress(
    hostId: string,
    report: { replicaId: string; stage: ReplicaStage; message: string },
  ): Promise<void> {
    const response = await this.#post(`/internal/hosts/${hostId}/progress`, report);
    await response.body?.cancel();
    if (!response.ok) throw new Error(`the progress report was answered with ${response.status}`);
  }

  /** @throws Error when it was not taken */
  async usage(hostId: string, replicas: readonly ReplicaUsage[]): Promise<void> {
    const response = await this.#post(`/internal/hosts/${hostId}/usage`, { replicas });
    await response.body?.cancel();
    if (!response.ok) throw new Error(`the usage report was answered with ${response.status}`);
  }

  /** @throws Error when it was not taken */
  async engineMetrics(hostId: string, replicas: readonly ReplicaMetrics[]): Promise<void> {
    const response = await this.#post(`/internal/hosts/${hostId}/engine-metrics`, { replicas });
    await response.body?.cancel();
    if (!response.ok) throw new Error(`the report of engine metrics was answered with ${response.status}`);
  }

  /** Images that endpoints may start again, on this host or another. @throws Error when it is not said */
  async liveImages(hostId: string): Promise<string[]> {
    const response = await this.#post(`/internal/hosts/${hostId}/live-images`, {});
    if (!response.ok) throw new Error(`the question for images was answered with ${response.status}`);
    return z.object({ images: z.array(z.string()) }).parse(await response.json()).images;
  }

  #post(path: string, body: unknown): Promise<Response> {
    return fetch(`${this.#base}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  }
}
