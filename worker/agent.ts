import { join } from 'node:path';
import { WorkflowNotFoundError } from '@temporalio/client';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { beating } from '../activities/beating.ts';
import { openDocker } from '../activities/containers/docker.ts';
import { HostImages } from '../activities/containers/host-images.ts';
import { ImageUse } from '../activities/containers/image-use.ts';
import { createContainerActivities } from '../activities/containers/index.ts';
import { ReplicaRecords } from '../activities/containers/records.ts';
import { createHealthActivities } from '../activities/health/index.ts';
import type { HostActivities } from '../activities/interfaces.ts';
import { unseal } from '../activities/seal.ts';
import { createStartReady } from '../activities/start-ready.ts';
import { createWeightsActivities, snapshotDir, weightsPresent } from '../activities/weights/index.ts';
import { ConfigError, loadPlatformConfig, loadTemporalConfig } from '../runtime/config.ts';
import { createLog } from '../runtime/log.ts';
import { onShutdown, reportReady } from '../runtime/process.ts';
import { connectionOptions, temporalClient } from '../runtime/temporal.ts';
import type { GpuDriver } from '../spec/driver.ts';
import { errorMessage, type Failure } from '../spec/errors.ts';
import type { ReplicaPlan } from '../spec/lifecycle.ts';
import { hostTaskQueue } from '../spec/names.ts';
import { containerLost } from '../workflows/messages.ts';
import { agentConfig } from './agent/config.ts';
import { ControlApi, type Joined, JoinRefused } from './agent/control-api.ts';
import { EngineMetricsReader } from './agent/engine-metrics.ts';
import { loadIdentity } from './agent/identity.ts';
import { takeInventory } from './agent/inventory.ts';
import { LostGpus } from './agent/lost-gpus.ts';
import { NvidiaSmi } from './agent/nvidia-smi.ts';
import { ProgressReporter } from './agent/progress.ts';
import { UsageMeter } from './agent/usage.ts';
import { createWatchActivity } from './agent/watch.ts';
import { persist } from './persist.ts';
import { sdkLog } from './sdk-log.ts';

/**
 * The host agent: brings one Docker engine into an installation and runs what the installation asks of it. It reaches
 * out to the control API and to Temporal; nobody needs to reach it. Containers outlive it.
 */
const REJOIN_MS = 30_000;
const USAGE_MS = 5000;
const RELIEVE_MS = 60_000;
const ENGINE_METRICS_MS = 10_000;
const SIGNAL_TIMEOUT_MS = 5000;

const log = createLog('agent');
process.on('uncaughtException', fatal);
const config = agentConfig(process.env);
const platform = loadPlatformConfig();
const identity = await loadIdentity(config.dir);
const { hostId } = identity;
const docker = openDocker();
const nvidia = new NvidiaSmi();
let gpuDriver: GpuDriver | null = null;
let gpuProblem: string | null = null;
const lostGpus = new LostGpus();
const api = new ControlApi(config.api, config.joinToken);
const stopping = new AbortController();

const { installation, temporal: cluster, hub } = await persist(log, 'the control API', () => joinOrEnd());
const loaded = loadTemporalConfig();
// What this machine's environment says goes first: the API's address of Temporal may be no good from here.
const temporalConfig = {
  ...loaded,
  address: process.env.TEMPORAL_ADDRESS || cluster.address,
  namespace: process.env.TEMPORAL_NAMESPACE || cluster.namespace,
};
Runtime.install({ logger: sdkLog(log), shutdownSignals: [] });
const client = temporalClient(temporalConfig);

const weightsDir = join(config.dir, 'weights');
const records = new ReplicaRecords(config.dir);
const images = new HostImages({
  docker,
  use: new ImageUse(config.dir),
  driver: () => gpuDriver,
  live: () => api.liveImages(hostId),
  minFreeBytes: platform.images.minFreeGb * 1e9,
  minIdleMs: platform.images.minIdleMinutes * 60_000,
});
const progress = new ProgressReporter((report) => api.progress(hostId, report));
const common = {
  docker,
  installation,
  records,
  address: config.address,
  weightsPath: ({ repository, commit }: { repository: string; commit: string }) =>
    snapshotDir(weightsDir, repository, commit),
  unseal: (sealed: string) => unseal(identity.privateKey, sealed),
  report: progress.report.bind(progress),
};
const containers = createContainerActivities({ ...common, images });
const health = createHealthActivities({ ...common, onLoss });
const activities: HostActivities = {
  ...createWeightsActivities({
    ...common,
    dir: weightsDir,
    hubEndpoint: hub.endpoint,
    parallel: platform.hub.parallelDownloads,
    partBytes: platform.hub.partBytes,
    commitsInUse,
  }),
  ...containers,
  startContainer: beating(containers.startContainer),
  stopContainer: beating(containers.stopContainer),
  restContainer: beating(containers.restContainer),
  resumeContainer: beating(containers.resumeContainer),
  listContainers: beating(containers.listContainers),
  removeContainers: beating(containers.removeContainers),
  ...health,
  ...createStartReady({
    docker,
    weightsPresent: (weights) => weightsPresent(weightsDir, weights),
    noteImage: (image) => images.note(image, false),
    startContainer: beating(containers.startContainer),
    waitReady: health.waitReady,
  }),
  ...createWatchActivity({ ...common, log, signal: signalLost, onLoss, stopping: stopping.signal }),
};

const tuning = temporalConfig.workers.host;
const connection = await persist(log, 'Temporal', () =>
  NativeConnection.connect(connectionOptions(temporalConfig)),
);
const worker = await persist(log, 'Temporal', () =>
  Worker.create({
    connection,
    namespace: temporalConfig.namespace,
    taskQueue: hostTaskQueue(hostId),
    identity: `host-${hostId}@${process.pid}`,
    activities,
    maxConcurrentActivityTaskExecutions: tuning.maxConcurrentActivities,
    activityTaskPollerBehavior: { type: 'autoscaling', minimum: 1, maximum: 4, initial: 2 },
    maxHeartbeatThrottleInterval: tuning.heartbeatThrottleSeconds * 1000,
    shutdownGraceTime: tuning.shutdownGraceSeconds * 1000,
  }),
);
const run = worker.run();
run.catch(fatal);
const rejoining = setInterval(rejoin, REJOIN_MS);
const usage = new UsageMeter(docker, records, nvidia);
const measuring = setInterval(reportUsage, USAGE_MS);
const relieving = setInterval(relieveDisk, RELIEVE_MS);
const engineMetrics = new EngineMetricsReader(docker, records);
const scraping = setInterval(reportEngineMetrics, ENGINE_METRICS_MS);

onShutdown(log, async () => {
  clearInterval(rejoining);
  clearInterval(measuring);
  clearInterval(relieving);
  clearInterval(scraping);
  stopping.abort();
  if (worker.getState() === 'RUNNING') worker.shutdown();
  await run;
  await Promise.all([connection.close(), client.connection.close()]);
});
reportReady();
log.info({ hostId, installation, queue: hostTaskQueue(hostId), api: config.api }, 'host agent serves');

async function joinInstallation(): Promise<Joined> {
  const gpus = await nvidia.look();
  if (gpus.problem !== null && gpus.problem !== gpuProblem)
    log.warn({ reason: gpus.problem }, 'nvidia-smi tells of no GPU that works: none is offered');
  gpuProblem = gpus.problem;
  gpuDriver = gpus.driver;
  const inventory = await takeInventory(docker, config, { ...gpus, gpus: lostGpus.offered(gpus.gpus) });
  const { name, address, vendor, region } = config;
  return api.join({ hostId, name, address, publicKey: identity.publicKey, inventory, vendor, region });
}

/** At the start a refusal ends the agent: its answer is a line to read, and trying on would hide it. */
async function joinOrEnd(): Promise<Joined> {
  try {
    return await joinInstallation();
  } catch (error) {
    if (error instanceof JoinRefused) fatal(error);
    throw error;
  }
}

/** Tells again what the host has, and that it is there. */
async function rejoin(): Promise<void> {
  try {
    const now = await joinInstallation();
    if (now.installation !== installation) {
      fatal(new Error(`the API now belongs to another installation (${now.installation})`));
    }
  } catch (error) {
    log.warn({ reason: errorMessage(error) }, 'could not join again; trying on');
  }
}

/** Best effort: the next look says it again. */
async function reportUsage(): Promise<void> {
  try {
    const replicas = await usage.look();
    if (replicas.length > 0) await api.usage(hostId, replicas);
  } catch (error) {
    log.debug({ reason: errorMessage(error) }, 'usage not reported');
  }
}

/** Best effort too, and all replicas of the host in one. */
async function reportEngineMetrics(): Promise<void> {
  try {
    const replicas = await engineMetrics.look();
    if (replicas.length > 0) await api.engineMetrics(hostId, replicas);
  } catch (error) {
    log.debug({ reason: errorMessage(error) }, 'engine metrics not reported');
  }
}

/** Images nobody uses go when Docker's disk runs full. */
async function relieveDisk(): Promise<void> {
  try {
    const gone = await images.relieve();
    if (gone.length > 0) log.info({ images: gone }, "unused images removed: Docker's disk was running full");
  } catch (error) {
    log.warn({ reason: errorMessage(error) }, 'no image could be removed; trying on');
  }
}

async function signalLost(workflowId: string, failure: Failure): Promise<'delivered' | 'gone'> {
  try {
    await client.withDeadline(Date.now() + SIGNAL_TIMEOUT_MS, () =>
      client.workflow.getHandle(workflowId).signal(containerLost, failure),
    );
    return 'delivered';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'gone';
    throw error;
  }
}

/** A GPU that has failed must not get the replacement. */
function onLoss(plan: Pick<ReplicaPlan, 'container'>, failure: Failure): void {
  if (!lostGpus.note(plan, failure)) return;
  log.error({ gpus: plan.container.gpus, reason: failure.message }, 'GPUs are out of service');
  void rejoin();
}

/** What eviction must not touch. */
async function commitsInUse(): Promise<ReadonlySet<string>> {
  const recorded = await records.all();
  return new Set(recorded.map(({ plan }) => plan.weights?.commit).filter((commit) => commit !== undefined));
}

/** The supervisor starts a new agent, which connects afresh. */
function fatal(error: unknown): never {
  // What somebody has to correct is one line; what is our own mistake comes with its stack.
  const known = error instanceof ConfigError || error instanceof JoinRefused;
  log.fatal(known ? { reason: error.message } : { err: error }, 'the agent ends');
  process.exit(1);
}
