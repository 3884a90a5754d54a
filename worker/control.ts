import { resolve } from 'node:path';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { createControlActivities } from '../activities/control/index.ts';
import { createHub } from '../hub/client.ts';
import { dataDir, loadPlatformConfig, loadTemporalConfig } from '../runtime/config.ts';
import { createLog } from '../runtime/log.ts';
import { onShutdown, reportReady } from '../runtime/process.ts';
import { connectionOptions, temporalClient } from '../runtime/temporal.ts';
import { migrateDatabase, openStore } from '../store/database.ts';
import { readInstallation } from '../store/installation.ts';
import { openVault } from '../store/secrets.ts';
import { workflowBundle } from './bundle.ts';
import { prepareNamespace } from './namespace.ts';
import { persist } from './persist.ts';
import { sdkLog } from './sdk-log.ts';
import { keepStanding, startStandingWorkflows } from './standing.ts';

/** The control worker: runs all workflows, and the activities that need the store or the Hub but no particular host. */
const log = createLog('worker');
const temporalConfig = loadTemporalConfig();
const config = loadPlatformConfig();
Runtime.install({ logger: sdkLog(log), shutdownSignals: [] });

const databaseUrl = requireEnv('DATABASE_URL');
const store = openStore(databaseUrl);
await persist(log, 'PostgreSQL', () => migrateDatabase(databaseUrl));
const installation = await readInstallation(store);
const hubToken = process.env.HF_TOKEN || null;

const codePath = await workflowBundle(resolve(dataDir(), 'bundle'));
const temporal = temporalClient(temporalConfig);
await persist(log, 'Temporal', () => prepareNamespace(temporal, temporalConfig));
const connection = await persist(log, 'Temporal', () =>
  NativeConnection.connect(connectionOptions(temporalConfig)),
);

const tuning = temporalConfig.workers.control;
const worker = await persist(log, 'Temporal', () =>
  Worker.create({
    connection,
    namespace: temporalConfig.namespace,
    taskQueue: temporalConfig.taskQueues.control,
    workflowBundle: { codePath },
    activities: createControlActivities({
      store,
      vault: openVault(resolve(dataDir(), 'secret.key')),
      config,
      hub: createHub({ endpoint: config.hub.endpoint, token: hubToken }),
      hubToken,
      installation,
      temporal,
      log,
    }),
    maxConcurrentActivityTaskExecutions: tuning.maxConcurrentActivities,
    maxConcurrentLocalActivityExecutions: tuning.maxConcurrentLocalActivities,
    maxConcurrentWorkflowTaskExecutions: tuning.maxConcurrentWorkflowTasks,
    maxCachedWorkflows: tuning.maxCachedWorkflows,
    // How long a task waits for the worker that has the workflow in its cache: that worker may be dead.
    stickyQueueScheduleToStartTimeout: '3 seconds',
    maxHeartbeatThrottleInterval: '2 seconds',
    shutdownGraceTime: tuning.shutdownGraceSeconds * 1000,
    workflowTaskPollerBehavior: { type: 'autoscaling', minimum: 2, maximum: 20, initial: 4 },
    activityTaskPollerBehavior: { type: 'autoscaling', minimum: 1, maximum: 20, initial: 2 },
  }),
);
const run = worker.run();
const keeping = new AbortController();
onShutdown(log, async () => {
  keeping.abort();
  if (worker.getState() === 'RUNNING') worker.shutdown();
  await run;
  await connection.close();
  await store.destroy();
});
const standing = { temporal, temporalConfig, config, store, log };
await persist(log, 'Temporal', () => startStandingWorkflows(standing));
void keepStanding(standing, keeping.signal);
reportReady();
log.info({ queue: temporalConfig.taskQueues.control, installation }, 'control worker serves');

run.catch((error: unknown) => {
  // The supervisor starts a new one, which connects afresh.
  log.fatal({ err: error }, 'worker ended');
  process.exit(1);
});

function requireEnv(name: string): string {
  const value = process.env[name];
  if (value) return value;
  log.fatal(
    `${name} is not set: start this process with 'endpoints up', or give it the address of PostgreSQL`,
  );
  process.exit(1);
}
