import { Client, Connection } from '@temporalio/client';
import type { TemporalConfig } from './config.ts';

/** TLS and API key from the environment, for a server that asks for them (`TEMPORAL_TLS=true`, `TEMPORAL_API_KEY`). */
export function connectionOptions(config: TemporalConfig, env: NodeJS.ProcessEnv = process.env) {
  return {
    address: config.address,
    ...(env.TEMPORAL_API_KEY ? { apiKey: env.TEMPORAL_API_KEY } : {}),
    ...(env.TEMPORAL_API_KEY || env.TEMPORAL_TLS === 'true' ? { tls: true as const } : {}),
  };
}

/**
 * A client that connects on first use and again after every loss, so that a process can start and serve while Temporal
 * is down.
 */
export function temporalClient(config: TemporalConfig, env: NodeJS.ProcessEnv = process.env): Client {
  const connection = Connection.lazy(connectionOptions(config, env));
  return new Client({ connection, namespace: config.namespace });
}
