import { existsSync, readFileSync } from 'node:fs';
import type { Store } from '../../store/database.ts';
import { ensureUser } from '../../store/namespaces.ts';
import { openVault } from '../../store/secrets.ts';
import { createToken, findPrincipal, hashToken } from '../../store/tokens.ts';
import { nodeService } from './child-process.ts';
import { addresses, ourEnvironment } from './environment.ts';
import { type Installation, need } from './installation.ts';
import { dataFiles } from './settings.ts';
import { readConnection, writeConnection, writePrivateFile } from './state.ts';
import type { Step } from './step.ts';

/** The user `up` makes, and the namespace its sample endpoint lives in. */
export const LOCAL_USER = 'local';

/** The steps that start our own processes and leave the way in for scripts. */
export function processSteps(up: Installation): Step[] {
  return [
    { title: 'Keys and tokens', run: () => tokens(up) },
    { title: 'Processes', run: (progress) => processes(up, progress) },
  ];
}

/** One token for the user and one for the agent, made on the first start and kept. */
async function tokens(up: Installation): Promise<string> {
  const { dataDir } = up.settings;
  const store = need(up, 'store');
  // The key of the store's secrets is made here, before several processes would do so at once.
  openVault(dataFiles(dataDir).secretKey);
  await ensureUser(store, LOCAL_USER);
  const kept = readConnection(dataDir)?.token;
  const user = await keepOrCreate(store, kept, 'npm start', 'write');
  const joinFile = dataFiles(dataDir).joinToken;
  const keptJoin = existsSync(joinFile) ? readFileSync(joinFile, 'utf8').trim() : undefined;
  const join = await keepOrCreate(store, keptJoin, 'agent of this machine', 'agent');
  writePrivateFile(joinFile, `${join}\n`);
  up.found.token = user;
  up.found.joinToken = join;

  const { temporalServer } = up.settings;
  writeConnection(dataDir, {
    ...addresses(up.settings),
    temporal: need(up, 'temporalAddress'),
    temporalUi: 'uiPort' in temporalServer ? `http://${temporalServer.host}:${temporalServer.uiPort}` : null,
    namespace: LOCAL_USER,
    token: user,
  });
  return user === kept ? 'kept' : 'made';
}

async function keepOrCreate(
  store: Store,
  kept: string | undefined,
  name: string,
  role: 'write' | 'agent',
): Promise<string> {
  // A token of a database that was replaced, or one that was revoked, is worth nothing.
  if (kept && (await findPrincipal(store, hashToken(kept)))) return kept;
  const { token } = await createToken(store, { userName: LOCAL_USER, name, role });
  return token;
}

async function processes(up: Installation, onProgress: (text: string) => void): Promise<string> {
  const files = dataFiles(up.settings.dataDir);
  const env = ourEnvironment(up);
  const waiting = new Set<string>();
  const start = async (
    name: string,
    entry: string,
    more: { env?: NodeJS.ProcessEnv; nodeOptions?: string[] } = {},
  ) => {
    waiting.add(name);
    await up.supervisor.start(nodeService({ name, entry, env, logFile: files.log(name), ...more }));
    waiting.delete(name);
    if (waiting.size > 0) onProgress(`waiting for ${[...waiting].join(', ')}`);
  };
  await Promise.all([
    start('api', 'api/control/main.ts'),
    // Proxied bytes die young; a larger young generation spares them promotion and long pauses.
    start('gateway', 'api/gateway/main.ts', { nodeOptions: ['--max-semi-space-size=64'] }),
    start('worker', 'worker/control.ts'),
    start('agent', 'worker/agent.ts', {
      env: {
        ...env,
        ENDPOINTS_API: addresses(up.settings).api,
        ENDPOINTS_JOIN_TOKEN: need(up, 'joinToken'),
        ENDPOINTS_AGENT_DIR: files.agent,
      },
    }),
  ]);
  return 'api, gateway, worker and agent run';
}
