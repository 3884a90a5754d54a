import { existsSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { sql } from 'kysely';
import { openStore } from '../../store/database.ts';
import { dockerVersion, findDocker } from '../services/docker.ts';
import { onPath, tryExec } from '../services/exec.ts';
import { answers, portIsFree } from '../services/net.ts';
import { temporalAnswers } from '../services/temporal.ts';
import { isAlive } from '../up/process-id.ts';
import { ownPorts, readSettings, type Settings } from '../up/settings.ts';
import { type InstallationState, readState } from '../up/state.ts';

/** What one check found. `fail` means that `npm start` cannot work, `warn` that it will have to fetch or do without. */
export interface Finding {
  level: 'ok' | 'warn' | 'fail';
  what: string;
  /** What to do, unless it is ok. */
  advice?: string;
}

interface Subject {
  settings: Settings;
  state: InstallationState;
  running: boolean;
}

const GIB = 2 ** 30;
/** Programs, image and sample take about 2 GB; models come on top. */
const LEAST_FREE_BYTES = 3 * GIB;
const LOW_FREE_BYTES = 20 * GIB;
const MARKS = { ok: '✔', warn: '!', fail: '✖' } as const;

/** Prints what an installation stands on. Resolves with the exit code: 1 when something must be fixed. */
export async function doctor(): Promise<number> {
  const settings = readSettings({ sample: true });
  const state = readState(settings.dataDir);
  const running = state.supervisor !== null && isAlive(state.supervisor);
  const findings = await examine({ settings, state, running });
  for (const { level, what, advice } of findings) {
    console.log(`${MARKS[level]} ${what}${advice ? `\n    ${advice}` : ''}`);
  }
  return findings.some(({ level }) => level === 'fail') ? 1 : 0;
}

async function examine(subject: Subject): Promise<Finding[]> {
  const checks = [installation, docker, temporal, postgres, disk, gpu, hub, ports];
  return (await Promise.all(checks.map((check) => check(subject)))).flat();
}

async function installation({ settings, state, running }: Subject): Promise<Finding> {
  const where = `installation in ${settings.dataDir}`;
  return {
    level: 'ok',
    what: running ? `${where}: process ${state.supervisor?.pid} runs` : `${where}: not running`,
  };
}

async function docker(): Promise<Finding> {
  try {
    const host = await findDocker();
    if (host) return { level: 'ok', what: `Docker engine ${await dockerVersion(host)} at ${host}` };
  } catch (error) {
    return { level: 'fail', what: 'Docker engine', advice: (error as Error).message };
  }
  if (process.platform === 'linux' && process.getuid?.() === 0) {
    const how = (await onPath('dockerd')) ? 'start it' : "install Debian's and start it";
    return { level: 'warn', what: 'no Docker engine answers', advice: `npm start will ${how}` };
  }
  const advice = 'install and start Docker, give your user access to its socket, or set DOCKER_HOST';
  return { level: 'fail', what: 'no Docker engine answers', advice };
}

async function temporal({ settings, running }: Subject): Promise<Finding> {
  const { temporalServer: server } = settings;
  const address = 'address' in server ? server.address : `${server.host}:${server.port}`;
  if ('address' in server || running) {
    if (await temporalAnswers(address)) return { level: 'ok', what: `Temporal answers at ${address}` };
    const advice =
      'address' in server
        ? 'start it, or unset TEMPORAL_ADDRESS'
        : `see ${settings.dataDir}/logs/temporal.log`;
    return { level: 'fail', what: `Temporal does not answer at ${address}`, advice };
  }
  const named = process.env.TEMPORAL_CLI_PATH;
  const program = named || (await onPath('temporal'));
  if (program && (await tryExec(program, ['--version'], { timeoutMs: 10_000 })).code === 0) {
    return { level: 'ok', what: `Temporal server program at ${program}` };
  }
  if (named)
    return { level: 'fail', what: `TEMPORAL_CLI_PATH=${named} does not run`, advice: 'correct or unset it' };
  if (existsSync(`${settings.cacheDir}/temporal-${settings.temporal.devServer.version}`)) {
    return { level: 'ok', what: 'Temporal server program in the cache' };
  }
  const advice = 'npm start fetches the official release, or builds it with Go';
  return { level: 'warn', what: 'no Temporal server program yet', advice };
}

async function postgres({ settings, state, running }: Subject): Promise<Finding> {
  const url = 'url' in settings.database ? settings.database.url : running ? state.databaseUrl : null;
  if (!url) return { level: 'ok', what: 'PostgreSQL: the embedded one, started by npm start' };
  const store = openStore(url, { maxConnections: 1 });
  try {
    const { rows } = await sql<{ version: string }>`SHOW server_version`.execute(store);
    return { level: 'ok', what: `PostgreSQL ${Object.values(rows[0] ?? {})[0]} answers` };
  } catch (error) {
    const advice =
      'url' in settings.database
        ? 'start it, or correct DATABASE_URL'
        : `see ${settings.dataDir}/logs/postgres.log`;
    return { level: 'fail', what: `PostgreSQL does not answer: ${(error as Error).message}`, advice };
  } finally {
    await store.destroy();
  }
}

async function disk({ settings }: Subject): Promise<Finding> {
  let folder = settings.dataDir;
  while (!existsSync(folder)) folder = dirname(folder);
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const what = `${(free / GIB).toFixed(1)} GiB free at ${folder}`;
  if (free < LEAST_FREE_BYTES)
    return { level: 'fail', what, advice: 'free some, or move ENDPOINTS_DATA_DIR' };
  if (free < LOW_FREE_BYTES) return { level: 'warn', what, advice: 'enough for small models only' };
  return { level: 'ok', what };
}

async function gpu(): Promise<Finding> {
  const { code, stdout } = await tryExec('nvidia-smi', [
    '--query-gpu=name,memory.total',
    '--format=csv,noheader',
  ]);
  if (code === 0) return { level: 'ok', what: `GPUs: ${stdout.trim().replaceAll('\n', '; ')}` };
  return { level: 'warn', what: 'no NVIDIA GPU', advice: 'models run on the CPU' };
}

async function hub({ settings }: Subject): Promise<Finding> {
  const { endpoint } = settings.platform.hub;
  if (await answers(endpoint)) return { level: 'ok', what: `the Hub answers at ${endpoint}` };
  const advice =
    "set HF_ENDPOINT to a mirror ('endpoints mirror' serves a folder); the sample model is had without it";
  return { level: 'warn', what: `the Hub cannot be reached at ${endpoint}`, advice };
}

async function ports({ settings, running }: Subject): Promise<Finding[]> {
  if (running) return [];
  return Promise.all(
    ownPorts(settings).map(async ({ host, port, what, variable }): Promise<Finding> => {
      if (await portIsFree(host, port)) return { level: 'ok', what: `port ${port} (${what}) is free` };
      const advice = `stop the program that listens there, or set ${variable}`;
      return { level: 'fail', what: `port ${port} (${what}) is in use`, advice };
    }),
  );
}
