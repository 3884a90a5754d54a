import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { containerLost, scaleTo, WORKFLOWS, wake } from '../../workflows/messages.ts';
import { eventually } from '../support/eventually.ts';
import { stopSharedTemporal } from '../support/temporal.ts';
import { openStage } from '../workflows/stage.ts';
import { World } from '../workflows/world.ts';

/**
 * Records the histories that `replay.test.ts` replays: `TEST_ROLLOVER_EVENTS=4096 node --import tsx
 * test/replay/record.ts`. Run it once per release, after which its folder is never changed: every later version of the code must still replay it.
 */
const ROOT = join(import.meta.dirname, '..', '..');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
const FOLDER = join(import.meta.dirname, 'histories', version);
mkdirSync(FOLDER, { recursive: true });

type Stage = Awaited<ReturnType<typeof openStage>>;

async function scenario(
  title: string,
  over: object,
  play: (world: World, stage: Stage) => Promise<Record<string, string>>,
  { spareHost = false } = {},
): Promise<void> {
  const world = new World({ endpointId: randomUUID(), ...over });
  if (spareHost) world.spareHostId = `s${randomUUID().slice(0, 8)}`;
  const stage = await openStage(world, `r${randomUUID().slice(0, 8)}`);
  const recorded = await play(world, stage);
  for (const [name, workflowId] of Object.entries(recorded)) {
    const history = await stage.client.workflow.getHandle(workflowId).fetchHistory();
    // Who and where, and the paths in stack traces, are of the recording machine.
    const text = historyToJSON(history)
      .replaceAll(/"identity": ?"[^"]*"/g, '"identity":"recorded"')
      .replaceAll(/"name": ?"\d+@[^"]*"/g, '"name":"recorded"')
      .replaceAll(/"stackTrace": ?"(?:[^"\\]|\\.)*"/g, '"stackTrace":""');
    writeFileSync(join(FOLDER, `${name}.json`), `${JSON.stringify(JSON.parse(text), null, 1)}\n`);
  }
  await stage.close();
  console.log(title);
}

const reaches = (world: World, state: string) =>
  eventually(state, () => world.projection?.state === state, { timeoutMs: 60_000 });

async function end(world: World, stage: Stage): Promise<void> {
  world.wish({ phase: 'deleted' });
  await stage.tell();
  await stage.handle.result();
}

await scenario('create, update, pause, resume, delete', { pinned: false }, async (world, stage) => {
  await stage.tell();
  await reaches(world, 'running');
  world.wish({ revision: 2, pinned: true });
  await stage.tell();
  await reaches(world, 'updating');
  await reaches(world, 'running');
  world.wish({ phase: 'paused' });
  await stage.tell();
  await eventually('paused', () => world.projection?.state === 'paused' && world.containers.size === 0);
  world.wish({ phase: 'running' });
  await stage.tell();
  await reaches(world, 'running');
  await end(world, stage);
  return { 'endpoint-life': stage.workflowId, 'replica-stopped': stage.replica(2).workflowId };
});

await scenario('two first replicas whose tag moves between them', { minReplica: 2 }, async (world, stage) => {
  let pulls = 0;
  world.atPull = async () => {
    world.tag = 'engine@sha256:2';
    pulls += 1;
    await eventually('both have pulled', () => pulls >= 2, { timeoutMs: 60_000 });
  };
  await stage.tell();
  await eventually('two are ready', () => world.projection?.readyReplica === 2, { timeoutMs: 60_000 });
  await end(world, stage);
  // One of them pins, the other pulls once more.
  return {
    'replica-image-race-1': stage.replica(1).workflowId,
    'replica-image-race-2': stage.replica(2).workflowId,
  };
});

await scenario('a scaling rule that is due', { minReplica: 0 }, async (world, stage) => {
  await stage.tell();
  await reaches(world, 'running');
  await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
  await eventually('asleep', () => world.projection?.state === 'scaledToZero' && world.containers.size === 0);
  world.wish({ minReplica: 2 });
  const [namespace = '', name = ''] = stage.workflowId.split('/').slice(1);
  world.fired = { namespace, name, wake: true };
  const due = await stage.client.workflow.start(WORKFLOWS.scalingRule, {
    workflowId: `scaling/${name}`,
    taskQueue: stage.taskQueue,
    args: [{ endpointId: 'e', schedule: 'day' }],
  });
  await due.result();
  await eventually('two serve', () => world.routes.size === 2);
  await end(world, stage);
  return { 'scaling-rule': due.workflowId };
});

await scenario('sleep and wake', { minReplica: 0 }, async (world, stage) => {
  await stage.tell();
  await reaches(world, 'running');
  await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
  await eventually('asleep', () => world.projection?.state === 'scaledToZero' && world.containers.size === 0);
  await stage.handle.signal(wake);
  await reaches(world, 'running');
  await end(world, stage);
  return { 'endpoint-sleeps': stage.workflowId };
});

await scenario('sleep with a container kept', { minReplica: 0, standby: 'frozen' }, async (world, stage) => {
  const rests = () => [...world.stages.values()].includes('standby');
  await stage.tell();
  await reaches(world, 'running');
  for (let cycle = 0; cycle < 2; cycle += 1) {
    await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
    await eventually('at rest', rests);
    await stage.handle.signal(wake);
    await reaches(world, 'running');
  }
  world.slowDrain = true;
  const drains = world.calls.filter((call) => call === 'drain').length;
  await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
  await eventually('drains', () => world.calls.filter((call) => call === 'drain').length > drains);
  await stage.handle.signal(wake);
  await reaches(world, 'running');
  world.slowDrain = false;
  await stage.handle.signal(scaleTo, { replicas: 0, reason: 'idle' });
  await eventually('at rest', rests);
  world.spoiled = true;
  await stage.handle.signal(wake);
  await reaches(world, 'running');
  await end(world, stage);
  return {
    'endpoint-keeps-container': stage.workflowId,
    'replica-rests': stage.replica(1).workflowId,
    'replica-started-at-once': stage.replica(2).workflowId,
  };
});

await scenario('failed starts, a lost container, a called-off start', {}, async (world, stage) => {
  world.failStarts = { code: 'UNKNOWN', retryable: true, times: 1 };
  await stage.tell();
  await reaches(world, 'running');
  await stage
    .replica(2)
    .signal(containerLost, { code: 'CONTAINER_EXITED', message: 'exit 137', exitCode: 137 });
  await eventually('replaced', () => [...world.routes].some((id) => id.endsWith('-3')));
  await stage.replica(2).result();
  // Before it has said so, an update would take it for one on its way, and call it off.
  await eventually('it is known to serve', () => world.projection?.readyReplica === 1);
  world.slowReady = true;
  world.wish({ revision: 2 });
  await stage.tell();
  await eventually('starting', () => world.containers.size === 2);
  world.slowReady = false;
  await end(world, stage);
  return {
    'endpoint-fails': stage.workflowId,
    'replica-failed-start': stage.replica(1).workflowId,
    'replica-container-lost': stage.replica(2).workflowId,
    'replica-called-off': stage.replica(4).workflowId,
  };
});

await scenario('a cause that one more start does not cure', {}, async (world, stage) => {
  world.failStarts = { code: 'NCCL_SHM', retryable: false, times: 2 };
  await stage.tell();
  await reaches(world, 'failed');
  await stage.replica(2).result();
  await end(world, stage);
  return { 'endpoint-retries-once': stage.workflowId };
});

await scenario('an update that fails, and the version before replaced', {}, async (world, stage) => {
  await stage.tell();
  await reaches(world, 'running');
  world.failStarts = { code: 'BAD_ARGS', retryable: false, times: 1 };
  world.wish({ revision: 2 });
  await stage.tell();
  await reaches(world, 'updateFailed');
  await stage
    .replica(1)
    .signal(containerLost, { code: 'CONTAINER_EXITED', message: 'exit 137', exitCode: 137 });
  await eventually('replaced', () => [...world.routes].some((id) => id.endsWith('-3')));
  world.wish({ revision: 3 });
  await stage.tell();
  await reaches(world, 'running');
  await end(world, stage);
  return { 'endpoint-update-fails': stage.workflowId };
});

await scenario('no room, then one by one', {}, async (world, stage) => {
  world.room = 1;
  await stage.tell();
  await reaches(world, 'running');
  world.wish({ revision: 2 });
  await stage.tell();
  await eventually('revision 2 serves', () => [...world.routes].some((id) => id.endsWith('-2')));
  await reaches(world, 'running');
  await end(world, stage);
  return { 'endpoint-no-room': stage.workflowId, 'replica-waited-for-room': stage.replica(2).workflowId };
});

await scenario('an update that fits on no host, until one has joined', {}, async (world, stage) => {
  await stage.tell();
  await reaches(world, 'running');
  world.tooLarge = true;
  world.wish({ revision: 2 });
  await stage.tell();
  await reaches(world, 'updateFailed');
  // What served dies: it is started again, where it has its place already.
  await stage.replica(1).signal(containerLost, { code: 'UNKNOWN', message: 'killed' });
  await eventually('the version before waits too', () => world.projection?.readyReplica === 0);
  world.tooLarge = false;
  await eventually('revision 2 serves', () => [...world.routes].some((id) => id.endsWith('-2')));
  await reaches(world, 'running');
  await end(world, stage);
  return { 'endpoint-too-large': stage.workflowId, 'replica-too-large': stage.replica(2).workflowId };
});

await scenario(
  'updates that are watched: good, rolled back, superseded, not started',
  { bake: { seconds: 3600, requests: 500, maxErrorPercent: 5 } },
  async (world, stage) => {
    const watched = (revision: number) =>
      eventually(`revision ${revision} is watched`, () => world.watched.at(-1) === revision);
    await stage.tell();
    await reaches(world, 'running');
    world.verdict = null;
    world.wish({ revision: 2 });
    await stage.tell();
    await reaches(world, 'updating');
    await reaches(world, 'running');
    world.verdict = { code: 'ENGINE_ERRORS', message: 'revision 3 answered 9 of 9 requests with errors' };
    world.wish({ revision: 3 });
    await stage.tell();
    await reaches(world, 'updateFailed');
    await stage.replica(3).result();
    world.verdict = undefined;
    world.wish({ revision: 4 });
    await stage.tell();
    await watched(4);
    world.wish({ revision: 5 });
    await stage.tell();
    await watched(5);
    world.failStarts = { code: 'BAD_ARGS', retryable: false, times: 1 };
    world.wish({ revision: 6 });
    await stage.tell();
    await reaches(world, 'updateFailed');
    await end(world, stage);
    return { 'endpoint-watched': stage.workflowId, 'replica-rolled-back': stage.replica(3).workflowId };
  },
);

await scenario('a host lost and found: its replica is taken back', {}, async (world, stage) => {
  await stage.tell();
  await stage.joinHost();
  await reaches(world, 'running');
  world.replicaWorkflows = [stage.replica(1).workflowId];
  await stage.stopHost();
  await eventually('lost', () => world.hostState === 'lost');
  await reaches(world, 'pending');
  await stage.startHost();
  await stage.joinHost();
  await reaches(world, 'running');
  await stage.replica(2).result();
  await end(world, stage);
  return { 'endpoint-cut-off': stage.workflowId, 'replica-cut-off': stage.replica(1).workflowId };
});

await scenario(
  'a host lost and found: its replica is replaced; janitor',
  {},
  async (world, stage) => {
    const { workflow } = stage.client;
    await stage.tell();
    const hostId = await stage.joinHost();
    await reaches(world, 'running');
    world.replicaWorkflows = [stage.replica(1).workflowId];
    world.containers.add('orphan');
    const janitor = await workflow.start(WORKFLOWS.janitor, {
      workflowId: `janitor/${hostId}`,
      taskQueue: stage.taskQueue,
    });
    await janitor.result();
    await stage.stopHost();
    await eventually('lost', () => world.hostState === 'lost');
    await eventually('the first one waits', () => [...world.stages.values()][0] === 'stopping');
    await stage.startHost();
    await stage.joinHost();
    await stage.replica(1).result();
    await end(world, stage);
    const autoscaler = await workflow.start(WORKFLOWS.autoscaler, {
      workflowId: `autoscaler/${hostId}`,
      taskQueue: stage.taskQueue,
    });
    await eventually('measuring', () => world.calls.includes('autoscale'));
    return {
      'host-lost-and-found': hostId,
      'replica-replaced': stage.replica(1).workflowId,
      janitor: janitor.workflowId,
      autoscaler: autoscaler.workflowId,
    };
  },
  { spareHost: true },
);

await scenario('a host lost while a replica starts there', {}, async (world, stage) => {
  world.slowReady = true;
  await stage.tell();
  await stage.joinHost();
  await eventually('starting', () => world.containers.size === 1);
  world.replicaWorkflows = [stage.replica(1).workflowId];
  await stage.stopHost();
  await stage.replica(1).result();
  world.slowReady = false;
  await stage.startHost();
  await stage.joinHost();
  await reaches(world, 'running');
  await end(world, stage);
  return { 'replica-host-lost': stage.replica(1).workflowId };
});

await stopSharedTemporal();
process.exit(0);
