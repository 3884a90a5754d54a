import { randomBytes } from 'node:crypto';
import type { FastifyInstance, InjectOptions } from 'fastify';
import { pino } from 'pino';
import type { ModelSource } from '../../api/control/context.ts';
import { createControlApi } from '../../api/control/server.ts';
import type { ResolvedModel } from '../../hub/client.ts';
import { loadPlatformConfig, type PlatformConfig } from '../../runtime/config.ts';
import type { Scheduler, WantedSchedule } from '../../runtime/schedules.ts';
import { EndpointsError } from '../../spec/errors.ts';
import type { WeightFile } from '../../spec/lifecycle.ts';
import type { Role } from '../../spec/permissions.ts';
import type { Store } from '../../store/database.ts';
import { ensureOrganization, ensureUser } from '../../store/namespaces.ts';
import { Vault } from '../../store/secrets.ts';
import { createToken } from '../../store/tokens.ts';
import type { Notifier } from '../../workflows/start.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

export const MODEL = 'example/tiny-gguf';
export const GGUF = 'tiny.Q4_1.gguf';
export const COMMIT = 'a'.repeat(40);

const FILES: WeightFile[] = [
  { path: GGUF, sizeBytes: 98_000_000, sha256: 'b'.repeat(64), gitSha1: null },
  { path: 'README.md', sizeBytes: 100, sha256: null, gitSha1: 'c'.repeat(40) },
];

function resolvedTo(files: WeightFile[]): ResolvedModel {
  const rest = { pipelineTag: null, library: null, licence: null, gated: false, private: false };
  return { commit: COMMIT, files, ...rest };
}

/** A Hub of three repositories: one good, one gated, one without weights; everything else is missing. */
export const hub: ModelSource = {
  inspectModel: async ({ repository, resolved }) => ({
    repository,
    commit: resolved.commit,
    ...{ pipelineTag: null, library: null, licence: null, gated: false, private: false },
    config: null,
    tokenizer: { kind: null, chatTemplate: null },
    weights: {
      format: 'gguf',
      path: GGUF,
      metadata: {
        'general.architecture': 'llama',
        'llama.block_count': 30,
        'llama.embedding_length': 576,
        'llama.attention.head_count': 9,
        'llama.attention.head_count_kv': 3,
        'llama.context_length': 8192,
        'llama.vocab_size': 49_152,
      },
    },
  }),
  resolveModel: async ({ repository, revision }) => {
    if (repository === 'example/gated')
      throw new EndpointsError('HUB_GATED', `'${repository}' is gated: ask for access`);
    if (repository === 'example/unreachable')
      throw new EndpointsError('HUB_UNREACHABLE', 'the Hub does not answer');
    if (repository === 'example/empty') return resolvedTo(FILES.slice(1));
    if (repository !== MODEL) throw new EndpointsError('HUB_NOT_FOUND', `'${repository}' does not exist`);
    if (revision !== null && !['main', COMMIT].includes(revision))
      throw new EndpointsError('HUB_REVISION', `'${repository}' has no revision '${revision}'`);
    return resolvedTo(FILES);
  },
};

/** Remembers what workflows were told; `down` makes it fail as it does without Temporal. */
export class RecordingNotifier implements Notifier {
  readonly told: string[] = [];
  down = false;

  async endpointChanged(
    endpoint: { namespace: string; name: string },
    options: { wake?: boolean } = {},
  ): Promise<void> {
    if (this.down) throw new Error('14 UNAVAILABLE');
    this.told.push(`${endpoint.namespace}/${endpoint.name}${options.wake ? ' wake' : ''}`);
  }

  async hostJoined(host: { hostId: string }): Promise<void> {
    if (this.down) throw new Error('14 UNAVAILABLE');
    this.told.push(`host ${host.hostId}`);
  }
}

/** Remembers what Temporal was told of scaling rules. */
export class RecordingScheduler implements Scheduler {
  readonly told: string[] = [];
  down = false;

  async put({ name, version }: WantedSchedule): Promise<void> {
    if (this.down) throw new Error('14 UNAVAILABLE');
    this.told.push(`${name} ${version}`);
  }

  async drop(_endpointId: string, name: string): Promise<void> {
    if (this.down) throw new Error('14 UNAVAILABLE');
    this.told.push(`${name} gone`);
  }
}

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  body: any;
  headers: Record<string, unknown>;
}

export interface TestApi {
  app: FastifyInstance;
  db: TestDatabase;
  store: Store;
  vault: Vault;
  notify: RecordingNotifier;
  schedules: RecordingScheduler;
  config: PlatformConfig;
  /** Full rights in namespace `alice` and the organisation `acme`. */
  token: string;
  tokenFor(userName: string, role: Role, expiresAt?: Date): Promise<string>;
  call(method: string, url: string, body?: unknown, options?: InjectOptions): Promise<Answer>;
  close(): Promise<void>;
}

export const silent = pino({ level: 'silent' });

/** The control API on a database of its own, with users `alice` and `bob` and the organisation `acme`. */
export async function testApi(options: { hub?: ModelSource } = {}): Promise<TestApi> {
  const db = await testDatabase();
  const { store } = db;
  await ensureUser(store, 'alice');
  await ensureUser(store, 'bob');
  await ensureOrganization(store, 'acme', 'alice');
  const tokenFor = async (userName: string, role: Role, expiresAt?: Date) =>
    (await createToken(store, { userName, name: role, role, ...(expiresAt ? { expiresAt } : {}) })).token;
  const token = await tokenFor('alice', 'write');
  const api = controlApi(store, token, options);
  return {
    ...api,
    db,
    store,
    token,
    tokenFor,
    close: async () => {
      await api.app.close();
      await db.drop();
    },
  };
}

export type TestControlApi = Pick<TestApi, 'app' | 'vault' | 'notify' | 'schedules' | 'config' | 'call'>;

/** The control API on a store that is there already, asked with `token`. */
export function controlApi(store: Store, token: string, options: { hub?: ModelSource } = {}): TestControlApi {
  const vault = new Vault(randomBytes(32));
  const notify = new RecordingNotifier();
  const schedules = new RecordingScheduler();
  const config = loadPlatformConfig({});
  const app = createControlApi({
    store,
    vault,
    config,
    temporal: { address: '127.0.0.1:7233', namespace: 'default' },
    hub: options.hub ?? hub,
    notify,
    schedules,
    gatewayUrl: 'http://127.0.0.1:8090',
    log: silent,
  });
  return {
    app,
    vault,
    notify,
    schedules,
    config,
    call: async (method, url, body, inject = {}) => {
      const response = await app.inject({
        method: method as NonNullable<InjectOptions['method']>,
        url,
        headers: { authorization: `Bearer ${token}` },
        ...(body === undefined ? {} : { payload: body as object }),
        ...inject,
      });
      const json = String(response.headers['content-type']).startsWith('application/json');
      return {
        status: response.statusCode,
        body: json ? response.json() : response.body,
        headers: response.headers,
      };
    },
  };
}

/** A create body that is good, with parts of it replaced (`undefined` removes). */
export function createBody(
  name: string,
  change: {
    top?: Record<string, unknown>;
    compute?: Record<string, unknown>;
    scaling?: Record<string, unknown>;
    model?: Record<string, unknown>;
  } = {},
): Record<string, unknown> {
  return {
    name,
    type: 'authenticated',
    provider: { vendor: 'docker', region: 'local' },
    compute: {
      accelerator: 'cpu',
      instanceType: 'cpu',
      instanceSize: 'x1',
      scaling: { minReplica: 1, maxReplica: 1, scaleToZeroTimeout: null, ...change.scaling },
      ...change.compute,
    },
    model: {
      repository: MODEL,
      framework: 'llamacpp',
      revision: null,
      image: {
        llamacpp: {
          url: 'ghcr.io/ggml-org/llama.cpp:server',
          ctxSize: 2048,
          nParallel: 2,
          threadsHttp: 4,
          modelPath: GGUF,
        },
      },
      ...change.model,
    },
    ...change.top,
  };
}
