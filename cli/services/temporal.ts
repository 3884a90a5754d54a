import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import type { TemporalConfig } from '../../runtime/config.ts';
import { programService } from '../up/child-process.ts';
import type { Service } from '../up/supervisor.ts';

export interface DevServerOptions {
  binary: string;
  /** Everything the server knows is in this SQLite file. */
  dbFile: string;
  host: string;
  port: number;
  uiPort: number;
  config: Pick<TemporalConfig, 'namespace' | 'searchAttributes' | 'devServer'>;
  env: NodeJS.ProcessEnv;
  logFile: string;
}

/** Temporal's development server as a supervised service; it serves when it answers gRPC. */
export function temporalService(options: DevServerOptions): Service {
  mkdirSync(dirname(options.dbFile), { recursive: true });
  return programService({
    name: 'temporal',
    file: options.binary,
    args: devServerArguments(options),
    env: options.env,
    logFile: options.logFile,
    readyTimeoutMs: 60_000,
    ipc: false,
    ready: (_child, signal) => untilAnswering(`${options.host}:${options.port}`, signal),
  });
}

/** The arguments of `temporal server start-dev`; search attributes count only when the namespace is made. */
export function devServerArguments(options: DevServerOptions): string[] {
  const { devServer, namespace, searchAttributes } = options.config;
  return [
    ...['server', 'start-dev', '--db-filename', options.dbFile, '--namespace', namespace],
    ...['--ip', options.host, '--port', String(options.port), '--ui-port', String(options.uiPort)],
    ...searchAttributes.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
    ...Object.entries(devServer.dynamicConfig).flatMap(([key, value]) => [
      '--dynamic-config-value',
      `${key}=${JSON.stringify(value)}`,
    ]),
    ...Object.entries(devServer.sqlitePragmas).flatMap(([key, value]) => [
      '--sqlite-pragma',
      `${key}=${value}`,
    ]),
  ];
}

/** Whether a Temporal server answers there. */
export async function temporalAnswers(address: string): Promise<boolean> {
  try {
    const connection = await Connection.connect({ address, connectTimeout: 2000 });
    await connection.close();
    return true;
  } catch {
    return false;
  }
}

async function untilAnswering(address: string, signal: AbortSignal): Promise<void> {
  while (!(await temporalAnswers(address))) {
    signal.throwIfAborted();
    await sleep(50);
  }
}
