import { mkdirSync } from 'node:fs';
import type { Store } from '../../store/database.ts';
import { CliError } from '../errors.ts';
import { portIsFree } from '../services/net.ts';
import { endLeftovers } from './leftovers.ts';
import { type Lock, takeLock } from './lock.ts';
import { processId } from './process-id.ts';
import { dataFiles, ownPorts, type Settings } from './settings.ts';
import { type InstallationState, readState, writeState } from './state.ts';
import { Supervisor, type SupervisorEvent } from './supervisor.ts';

/** What the steps of `up` find out, each for the ones after it. */
export interface Findings {
  dockerHost: string;
  temporalAddress: string;
  databaseUrl: string;
  store: Store;
  hubEndpoint: string;
  token: string;
  joinToken: string;
}

/** One `up` on one data directory. */
export interface Installation {
  settings: Settings;
  supervisor: Supervisor;
  /** Aborted when the user wants to stop. */
  stopping: AbortController;
  found: Partial<Findings>;
  /** Keeps part of the state on disk up to date. */
  remember(part: Partial<InstallationState>): void;
  /** Ends all processes in order, and gives the data directory free. Engine containers go on. */
  close(): Promise<void>;
}

const NAMES_OF_OURS = ['gateway', 'agent', 'api', 'worker', 'mirror'];
/** Together below the ten seconds within which everything must have ended. */
const GRACE_MS = { ours: 5500, temporal: 2000, postgres: 1500 };

/**
 * Takes the data directory for this process: refuses a second instance, ends what a killed one left running, and checks
 * that every port is free, all before anything is started. @throws CliError
 */
export async function openInstallation(
  settings: Settings,
  onEvent: (event: SupervisorEvent) => void,
): Promise<Installation & { leftovers: string[] }> {
  mkdirSync(settings.dataDir, { recursive: true });
  const taken = takeLock(dataFiles(settings.dataDir).lock);
  if (!taken.ok) {
    throw new CliError(
      `process ${taken.owner.pid} already runs on ${settings.dataDir}: stop it ('endpoints down'), or set ` +
        'ENDPOINTS_DATA_DIR and other ports for a second installation',
    );
  }
  try {
    const leftovers = await endLeftovers(readState(settings.dataDir).processes);
    await requireFreePorts(settings);
    return { ...open(settings, taken.lock, onEvent), leftovers };
  } catch (error) {
    taken.lock.release();
    throw error;
  }
}

function open(settings: Settings, lock: Lock, onEvent: (event: SupervisorEvent) => void): Installation {
  const state = readState(settings.dataDir);
  const remember = (part: Partial<InstallationState>) => {
    Object.assign(state, part);
    writeState(settings.dataDir, state);
  };
  remember({ supervisor: processId(process.pid) ?? null, processes: [] });
  const stopping = new AbortController();
  const supervisor = new Supervisor({
    onEvent,
    onProcesses: (processes) => remember({ processes }),
    signal: stopping.signal,
  });
  const found: Partial<Findings> = {};
  const close = async () => {
    await supervisor.stop(GRACE_MS.ours, NAMES_OF_OURS);
    await found.store?.destroy();
    await supervisor.stop(GRACE_MS.temporal, ['temporal']);
    await supervisor.stop(GRACE_MS.postgres, ['postgres']);
    remember({ supervisor: null, processes: [] });
    lock.release();
  };
  return { settings, supervisor, stopping, found, remember, close };
}

async function requireFreePorts(settings: Settings): Promise<void> {
  for (const { host, port, what, variable } of ownPorts(settings)) {
    if (await portIsFree(host, port)) continue;
    throw new CliError(
      `port ${port} (${what}) is in use: stop the program that listens there, or set ${variable} to a free port`,
    );
  }
}

/** A finding of an earlier step. */
export function need<K extends keyof Findings>(up: Installation, key: K): Findings[K] {
  const value = up.found[key];
  if (value === undefined) throw new Error(`no step has found out ${key}`);
  return value;
}
