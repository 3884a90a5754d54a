import { join } from 'node:path';
import {
  cacheDir,
  dataDir,
  loadPlatformConfig,
  loadTemporalConfig,
  type PlatformConfig,
  type TemporalConfig,
} from '../../runtime/config.ts';
import { CliError } from '../errors.ts';

/** A port that `up` will listen on, and the variable that moves it. */
export interface OwnPort {
  host: string;
  port: number;
  what: string;
  variable: string;
}

/** Everything `up` decides from the files and the environment before it touches anything. */
export interface Settings {
  dataDir: string;
  cacheDir: string;
  platform: PlatformConfig;
  temporal: TemporalConfig;
  /** `DATABASE_URL` when PostgreSQL is someone else's, else the port of the embedded one. */
  database: { url: string } | { port: number };
  /** The address when Temporal is someone else's, else where the development server listens. */
  temporalServer: { address: string } | { host: string; port: number; uiPort: number };
  /** Set when the user chose a Hub (`HF_ENDPOINT`), which is then never replaced by a mirror. */
  chosenHub: string | undefined;
  mirrorPort: number;
  sample: boolean;
}

const LOOPBACK = '127.0.0.1';
const DEFAULT_POSTGRES_PORT = 15_432;
const DEFAULT_UI_PORT = 8233;
const DEFAULT_MIRROR_PORT = 8095;

/** @throws ConfigError, CliError */
export function readSettings(options: { sample: boolean }, env: NodeJS.ProcessEnv = process.env): Settings {
  const platform = loadPlatformConfig(env);
  const temporal = loadTemporalConfig(env);
  return {
    dataDir: dataDir(env),
    cacheDir: cacheDir(env),
    platform,
    temporal,
    database: env.DATABASE_URL
      ? { url: env.DATABASE_URL }
      : { port: portFrom(env, 'POSTGRES_PORT', DEFAULT_POSTGRES_PORT) },
    temporalServer: temporalServer(temporal.address, env),
    chosenHub: env.HF_ENDPOINT || undefined,
    mirrorPort: portFrom(env, 'MIRROR_PORT', DEFAULT_MIRROR_PORT),
    sample: options.sample,
  };
}

/** An address of this machine in `temporal.yaml` means the embedded server; `TEMPORAL_ADDRESS` always means another. */
function temporalServer(address: string, env: NodeJS.ProcessEnv): Settings['temporalServer'] {
  const [host, port] = address.split(':');
  if (env.TEMPORAL_ADDRESS || (host !== LOOPBACK && host !== 'localhost')) return { address };
  return {
    host: LOOPBACK,
    port: portFrom(env, 'TEMPORAL_PORT', Number(port)),
    uiPort: portFrom(env, 'TEMPORAL_UI_PORT', DEFAULT_UI_PORT),
  };
}

function portFrom(env: NodeJS.ProcessEnv, variable: string, fallback: number): number {
  const text = env[variable];
  if (!text) return fallback;
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port;
  throw new CliError(`${variable} is '${text}': a port is a number from 1 to 65535`);
}

/** The ports that must be free before anything is started. The mirror's counts only once it is needed. */
export function ownPorts({ platform, database, temporalServer }: Settings): OwnPort[] {
  const { api, gateway } = platform;
  return [
    { host: api.host, port: api.port, what: 'the API', variable: 'API_PORT' },
    { host: gateway.host, port: gateway.port, what: 'the gateway', variable: 'GATEWAY_PORT' },
    ...('port' in temporalServer
      ? [
          { host: LOOPBACK, port: temporalServer.port, what: 'Temporal', variable: 'TEMPORAL_PORT' },
          {
            host: LOOPBACK,
            port: temporalServer.uiPort,
            what: "Temporal's UI",
            variable: 'TEMPORAL_UI_PORT',
          },
        ]
      : []),
    ...('port' in database
      ? [{ host: LOOPBACK, port: database.port, what: 'PostgreSQL', variable: 'POSTGRES_PORT' }]
      : []),
  ];
}

/** Files below the data directory, by what is in them. */
export function dataFiles(dir: string) {
  return {
    lock: join(dir, 'lock'),
    joinToken: join(dir, 'join-token'),
    secretKey: join(dir, 'secret.key'),
    temporalDb: join(dir, 'temporal', 'temporal.db'),
    postgres: join(dir, 'postgres'),
    agent: join(dir, 'agent'),
    temporary: join(dir, 'tmp'),
    log: (name: string) => join(dir, 'logs', `${name}.log`),
  };
}
