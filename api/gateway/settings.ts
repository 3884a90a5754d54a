import {
  ConfigError,
  loadPlatformConfig,
  loadTemporalConfig,
  type PlatformConfig,
  type TemporalConfig,
} from '../../runtime/config.ts';

/** What a gateway process runs by. */
export interface ProcessSettings {
  platform: PlatformConfig;
  temporal: TemporalConfig;
  databaseUrl: string;
}

/** Reads configuration and environment; ends the process with one line when something is missing or wrong. */
export function readSettings(): ProcessSettings {
  const databaseUrl = process.env.DATABASE_URL;
  if (!databaseUrl) fail('DATABASE_URL is not set: give the connection string of the PostgreSQL database');
  try {
    return { platform: loadPlatformConfig(), temporal: loadTemporalConfig(), databaseUrl };
  } catch (error) {
    if (error instanceof ConfigError) fail(error.message);
    throw error;
  }
}

/** One line for whoever started this, then the end. */
export function fail(message: string): never {
  process.stderr.write(`gateway: ${message}\n`);
  process.exit(1);
}
