import { spawn } from 'node:child_process';
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { exec } from '../../cli/services/exec.ts';
import { startPostgres } from '../../cli/services/postgres.ts';
import { temporalAnswers } from '../../cli/services/temporal.ts';
import { cacheDir, loadTemporalConfig } from '../../runtime/config.ts';
import { eventually } from '../../test/support/eventually.ts';
import { freePort } from '../../test/support/ports.ts';

/** The one that the development server of `temporal.yaml` is made of. */
const VERSION = '1.29.1';
const SHARDS = 4;
const PLUGIN = 'postgres12_pgx';
const SERVICES = ['frontend', 'history', 'matching', 'worker'] as const;
/** Databases of a cluster, by what `temporal.yaml` of the server calls them, with their schemas. */
const STORES = { default: 'temporal', visibility: 'visibility' } as const;

export interface TemporalCluster {
  /** For `TEMPORAL_ADDRESS`. */
  address: string;
  /** Of the server and of its PostgreSQL. */
  pids: number[];
  stop(): Promise<void>;
}

/**
 * The Temporal server as it is run in production, all four services in one process, on a PostgreSQL of its own. Its programs are
 * made by Go (`go install`, some minutes, once) and stay in the cache. @throws CliError where Go is missing
 */
export async function startTemporalCluster(): Promise<TemporalCluster> {
  const bin = await programs();
  const dir = await mkdtemp(join(tmpdir(), 'temporal-cluster-'));
  const postgres = await startPostgres({ dir: join(dir, 'postgres'), port: await freePort() });
  for (const schema of Object.values(STORES))
    await makeDatabase(join(bin, 'sql'), new URL(postgres.url), schema);
  const ports = Object.fromEntries(
    await Promise.all(SERVICES.map(async (name) => [name, [await freePort(), await freePort()]] as const)),
  ) as Record<(typeof SERVICES)[number], [number, number]>;
  await writeFile(join(dir, 'cluster.yaml'), stringify(configuration(new URL(postgres.url), ports, dir)));
  await writeFile(join(dir, 'dynamic.yaml'), stringify(dynamicConfig()));
  // The folder of the configuration is looked for below the root.
  const args = ['--root', dir, '--config', '.', '--env', 'cluster', '--allow-no-auth', 'start'];
  const child = spawn(join(bin, 'server'), args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
    await postgres.stop();
    await rm(dir, { recursive: true, force: true });
  };
  const address = `127.0.0.1:${ports.frontend[0]}`;
  try {
    await eventually('the Temporal cluster answers', () => temporalAnswers(address), { timeoutMs: 60_000 });
  } catch (error) {
    await stop();
    throw error;
  }
  return { address, pids: [child.pid ?? 0, postgres.process.pid ?? 0], stop };
}

async function programs(): Promise<string> {
  const bin = join(cacheDir(), `temporal-server-${VERSION}`);
  for (const [program, folder] of Object.entries({ server: 'cmd/server', sql: 'cmd/tools/sql' })) {
    if (
      await access(join(bin, program)).then(
        () => true,
        () => false,
      )
    )
      continue;
    console.log(`making Temporal's ${program} ${VERSION}`);
    await mkdir(bin, { recursive: true });
    const env = { ...process.env, GOBIN: bin };
    await exec('go', ['install', `go.temporal.io/server/${folder}@v${VERSION}`], { env });
  }
  return bin;
}

async function makeDatabase(tool: string, url: URL, schema: string): Promise<void> {
  const at = ['--plugin', PLUGIN, '--ep', url.hostname, '-p', url.port, '-u', url.username, '--db', schema];
  await exec(tool, [...at, 'create-database']);
  await exec(tool, [...at, 'setup-schema', '-v', '0.0']);
  await exec(tool, [...at, 'update-schema', '--schema-name', `postgresql/v12/${schema}`]);
}

/** What Temporal's documentation calls the static configuration. */
function configuration(url: URL, ports: Record<string, [number, number]>, dir: string): object {
  const store = (databaseName: string) => ({
    sql: {
      pluginName: PLUGIN,
      databaseName,
      connectAddr: url.host,
      connectProtocol: 'tcp',
      user: url.username,
      maxConns: 20,
      maxIdleConns: 20,
      maxConnLifetime: '1h',
    },
  });
  const service = ([grpcPort, membershipPort]: [number, number]) => ({
    rpc: { grpcPort, membershipPort, bindOnIP: '127.0.0.1' },
  });
  const frontend = `127.0.0.1:${ports.frontend?.[0]}`;
  return {
    log: { stdout: true, level: 'error' },
    persistence: {
      defaultStore: 'default',
      visibilityStore: 'visibility',
      numHistoryShards: SHARDS,
      datastores: Object.fromEntries(Object.entries(STORES).map(([name, db]) => [name, store(db)])),
    },
    global: { membership: { maxJoinDuration: '30s', broadcastAddress: '127.0.0.1' } },
    services: Object.fromEntries(Object.entries(ports).map(([name, pair]) => [name, service(pair)])),
    clusterMetadata: {
      enableGlobalNamespace: false,
      failoverVersionIncrement: 10,
      masterClusterName: 'active',
      currentClusterName: 'active',
      clusterInformation: {
        active: { enabled: true, initialFailoverVersion: 1, rpcName: 'frontend', rpcAddress: frontend },
      },
    },
    dcRedirectionPolicy: { policy: 'noop' },
    publicClient: { hostPort: frontend },
    dynamicConfigClient: { filepath: join(dir, 'dynamic.yaml'), pollInterval: '60s' },
  };
}

/** The same as of the development server. */
function dynamicConfig(): Record<string, { value: unknown }[]> {
  const { devServer } = loadTemporalConfig();
  return Object.fromEntries(
    Object.entries(devServer.dynamicConfig).map(([key, value]) => [key, [{ value }]]),
  );
}
