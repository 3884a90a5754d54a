import { randomUUID } from 'node:crypto';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type { ControlActivities } from '../../activities/interfaces.ts';
import { hostTaskQueue } from '../../spec/names.ts';
import { bundleWorkflows } from '../../worker/bundle.ts';
import { prepareNamespace } from '../../worker/namespace.ts';
import { agentJoined, specChanged, WORKFLOWS } from '../../workflows/messages.ts';
import { sharedTemporal } from '../support/temporal.ts';
import type { World } from './world.ts';

let bundle: Promise<{ code: string }> | undefined;

/** The workflow code of this checkout, bundled once for the test process. */
export function sharedBundle(): Promise<{ code: string }> {
  bundle ??= bundleWorkflows().then((code) => ({ code }));
  return bundle;
}

let installed = false;
/** Keeps the SDK's own log out of the test report; once per process. */
export function quietSdk(): void {
  if (installed) return;
  installed = true;
  Runtime.install({
    logger: { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error: console.error },
    shutdownSignals: [],
  });
}

/**
 * Plays workflows against a `World` on the real Temporal server: a control worker and a host worker, both of which can
 * be taken away and brought back. `real` stands in for parts of the world.
 */
export async function openStage(world: World, name: string, real: Partial<ControlActivities> = {}) {
  quietSdk();
  const { client, config } = await sharedTemporal();
  await prepareNamespace(client, config);
  const taskQueue = `control-${randomUUID().slice(0, 8)}`;
  const connection = await NativeConnection.connect({ address: config.address });
  const common = {
    connection,
    namespace: config.namespace,
    shutdownGraceTime: '1 second',
    maxHeartbeatThrottleInterval: '1 second',
  } as const;
  const control = await running(
    Worker.create({
      ...common,
      taskQueue,
      workflowBundle: await sharedBundle(),
      activities: { ...world.control(), ...real },
    }),
  );
  const startHost = (hostId: string) =>
    running(Worker.create({ ...common, taskQueue: hostTaskQueue(hostId), activities: { ...world.host() } }));
  let host = await startHost(world.hostId);
  const spare = world.spareHostId ? await startHost(world.spareHostId) : undefined;
  const at = { namespace: 'ns', name };
  const workflowId = `endpoint/ns/${name}`;
  const stage = {
    client,
    taskQueue,
    workflowId,
    handle: client.workflow.getHandle(workflowId),
    replica: (number: number) => client.workflow.getHandle(`replica/ns/${name}/${number}`),
    /** What the API does after a write. */
    tell: () =>
      client.workflow.signalWithStart(WORKFLOWS.endpoint, {
        workflowId,
        taskQueue,
        args: [at],
        signal: specChanged,
      }),
    hostId: world.hostId,
    stopHost: () => host.stop(),
    startHost: async () => {
      host = await startHost(world.hostId);
    },
    /** What the API does when the agent joins; answers the id of the host's workflow. */
    joinHost: async () => {
      const workflowId = `host/${world.hostId}`;
      await client.workflow.signalWithStart(WORKFLOWS.host, {
        workflowId,
        taskQueue,
        args: [{ hostId: world.hostId }],
        signal: agentJoined,
      });
      return workflowId;
    },
    close: async () => {
      await control.stop();
      await host.stop();
      await spare?.stop();
      await connection.close();
    },
  };
  return stage;
}

async function running(created: Promise<Worker>): Promise<{ stop: () => Promise<void> }> {
  const worker = await created;
  const run = worker.run();
  let stopped = false;
  return {
    stop: async () => {
      if (!stopped) worker.shutdown();
      stopped = true;
      await run;
    },
  };
}
