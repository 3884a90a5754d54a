import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ProcessId } from './process-id.ts';

/** What a later command must know of an installation; `<data>/state.json`, mode 0600 (a database URL may hold a password). */
export interface InstallationState {
  /** The running supervisor; null after an orderly stop. */
  supervisor: ProcessId | null;
  /** Every process the supervisor started, so that the next start can end what a killed one left behind. */
  processes: { name: string; id: ProcessId }[];
  databaseUrl: string | null;
  dockerHost: string | null;
  /** The id in this installation's container labels. */
  installation: string | null;
}

/** How scripts reach the installation; `<data>/connection.json`, mode 0600. */
export interface ConnectionFile {
  api: string;
  gateway: string;
  temporal: string;
  /** Null when Temporal is someone else's and its UI is not known. */
  temporalUi: string | null;
  namespace: string;
  token: string;
}

const EMPTY: InstallationState = {
  supervisor: null,
  processes: [],
  databaseUrl: null,
  dockerHost: null,
  installation: null,
};

export function readState(dataDir: string): InstallationState {
  return { ...EMPTY, ...(readJson(join(dataDir, 'state.json')) as Partial<InstallationState> | undefined) };
}

export function writeState(dataDir: string, state: InstallationState): void {
  writePrivateFile(join(dataDir, 'state.json'), `${JSON.stringify(state, null, 2)}\n`);
}

/** Undefined when there is none: the installation was never started. */
export function readConnection(dataDir: string): ConnectionFile | undefined {
  return readJson(join(dataDir, 'connection.json')) as ConnectionFile | undefined;
}

export function writeConnection(dataDir: string, connection: ConnectionFile): void {
  writePrivateFile(join(dataDir, 'connection.json'), `${JSON.stringify(connection, null, 2)}\n`);
}

/** Replaces the file in one step, readable by its owner only, so that a reader never sees half of it. */
export function writePrivateFile(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  const temporary = `${file}.${randomBytes(4).toString('hex')}`;
  try {
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, file);
  } finally {
    rmSync(temporary, { force: true });
  }
}

function readJson(file: string): unknown {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
}
