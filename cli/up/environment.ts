import { mkdirSync } from 'node:fs';
import type { Installation } from './installation.ts';
import { dataFiles } from './settings.ts';

/**
 * The environment of our own processes: what the user set, and where everything is. Temporary files, the TypeScript
 * loader's cache among them, stay below the data directory.
 */
export function ourEnvironment({ settings, found }: Installation): NodeJS.ProcessEnv {
  const { TSX_DISABLE_CACHE, ENDPOINTS_JOIN_TOKEN, ...user } = process.env;
  const { platform, dataDir, cacheDir, temporal } = settings;
  const temporary = dataFiles(dataDir).temporary;
  mkdirSync(temporary, { recursive: true, mode: 0o700 });
  return {
    ...user,
    TMPDIR: temporary,
    ENDPOINTS_DATA_DIR: dataDir,
    ENDPOINTS_CACHE_DIR: cacheDir,
    API_PORT: String(platform.api.port),
    GATEWAY_PORT: String(platform.gateway.port),
    TEMPORAL_NAMESPACE: temporal.namespace,
    ...(found.databaseUrl ? { DATABASE_URL: found.databaseUrl } : {}),
    ...(found.temporalAddress ? { TEMPORAL_ADDRESS: found.temporalAddress } : {}),
    ...(found.hubEndpoint ? { HF_ENDPOINT: found.hubEndpoint } : {}),
    ...(found.dockerHost ? { DOCKER_HOST: found.dockerHost } : {}),
  };
}

/** Where the API and the gateway are reached from this machine. */
export function addresses({ platform }: Installation['settings']): { api: string; gateway: string } {
  const url = ({ host, port }: { host: string; port: number }, scheme = 'http') =>
    `${scheme}://${host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host}:${port}`;
  return {
    api: url(platform.api),
    gateway: platform.gateway.publicUrl ?? url(platform.gateway, platform.gateway.tls ? 'https' : 'http'),
  };
}
