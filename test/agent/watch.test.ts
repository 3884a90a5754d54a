import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { pino } from 'pino';
import type { ReplicaRecord } from '../../activities/containers/records.ts';
import type { Failure } from '../../spec/errors.ts';
import { followEvents } from '../../worker/agent/events.ts';
import { HostWatch } from '../../worker/agent/host-watch.ts';
import { createWatchActivity } from '../../worker/agent/watch.ts';
import { activityEnvironment, needDocker, TestHost } from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';

const log = pino({ level: 'silent' });

interface Watched {
  lost: [string, Failure][];
  stop(): Promise<void>;
}

function watch(host: TestHost, answer: () => 'delivered' | 'gone' = () => 'delivered'): Watched {
  const lost: [string, Failure][] = [];
  const ending = new AbortController();
  const { docker, installation, records } = host;
  const running = new HostWatch({
    docker,
    installation,
    records,
    log,
    probeEveryMs: 250,
    signal: async (workflowId, failure) => {
      const heard = answer();
      lost.push([workflowId, failure]);
      return heard;
    },
  }).run(ending.signal);
  return {
    lost,
    stop: () => {
      ending.abort();
      return running;
    },
  };
}

describe('agent: watching a host', () => {
  let host: TestHost;
  let watched: Watched | undefined;

  before(needDockerHook);
  beforeEach(async () => {
    host = await TestHost.open();
  });
  afterEach(async () => {
    await watched?.stop();
    watched = undefined;
    await host?.close();
  });

  async function needDockerHook(this: Mocha.Context): Promise<void> {
    await needDocker(this);
  }

  it('tells the workflow when its container is killed, once', async () => {
    const { plan, containerId } = await host.serve({ secrets: { env: { KEY: 's3cr3t-value' } } });
    watched = watch(host);
    const { lost } = watched;
    await host.docker.getContainer(containerId).kill();
    const killed = Date.now();
    await eventually('the signal', () => lost.length > 0);
    assert.ok(Date.now() - killed < 4000, "Docker's event is faster than the next look");
    const [workflowId, failure] = lost[0] ?? [];
    assert.equal(workflowId, plan.workflowId);
    assert.equal(failure?.code, 'UNKNOWN');
    assert.match(failure?.message ?? '', /SIGKILL/);
    assert.ok(failure?.logTail);
    assert.doesNotMatch(JSON.stringify(failure), /s3cr3t-value|engine-key-of-the-test/);
    await host.docker.getContainer(containerId).rename({ name: `${plan.containerName}-x` });
    assert.equal(lost.length, 1);
  });

  it('leaves a container at rest alone, and tells of a frozen one that died', async () => {
    const { plan, containerId } = await host.serve();
    const { plan: other } = await host.serve();
    const rest = (which: typeof plan, standby: 'stopped' | 'frozen') =>
      host.run(host.activities.restContainer, { ...which, graceMs: 1000, standby });
    watched = watch(host);
    const { lost } = watched;
    await rest(plan, 'frozen');
    await rest(other, 'stopped');
    await new Promise((later) => setTimeout(later, 2000));
    assert.deepEqual(lost, [], 'neither probed nor missed, for eight rounds');
    await host.docker.getContainer(containerId).unpause();
    await host.docker.getContainer(containerId).kill();
    await eventually('the signal', () => lost.length > 0);
    assert.equal(lost[0]?.[0], plan.workflowId);
  });

  it('finds what ended while no agent ran', async () => {
    const { plan, containerId } = await host.serve();
    await host.docker.getContainer(containerId).kill();
    watched = watch(host);
    const { lost } = watched;
    await eventually('the signal', () => lost.length > 0);
    assert.equal(lost[0]?.[0], plan.workflowId);
  });

  it('finds that a container was removed from outside', async () => {
    const { containerId } = await host.serve();
    watched = watch(host);
    const { lost } = watched;
    await host.docker.getContainer(containerId).remove({ force: true });
    await eventually('the signal', () => lost.length > 0);
    assert.ok(lost[0]);
  });

  it('says nothing of a container that is stopped on purpose', async () => {
    const { plan, containerId } = await host.serve();
    const other = await host.serve();
    watched = watch(host);
    const { lost } = watched;
    await host.run(host.activities.stopContainer, {
      replicaId: plan.replicaId,
      containerName: plan.containerName,
      graceMs: 5000,
    });
    // When the later one is known, the earlier one was looked at too.
    await host.docker.getContainer(other.containerId).kill();
    await eventually('the signal of the other', () => lost.length > 0);
    assert.deepEqual(
      lost.map(([workflowId]) => workflowId),
      [other.plan.workflowId],
    );
    assert.notEqual(containerId, other.containerId);
  });

  it('leaves a container that was never ready to the one who waits for it', async () => {
    const plan = await host.plan();
    const { containerId } = await host.run(host.activities.startContainer, plan);
    const ready = await host.serve();
    watched = watch(host);
    const { lost } = watched;
    await host.docker.getContainer(containerId).kill();
    await host.docker.getContainer(ready.containerId).kill();
    await eventually('the signal of the ready one', () => lost.length > 0);
    assert.deepEqual(
      lost.map(([workflowId]) => workflowId),
      [ready.plan.workflowId],
    );
  });

  it('tells of an engine that hangs', async () => {
    const { plan, containerId } = await host.serve();
    watched = watch(host);
    const { lost } = watched;
    await host.docker.getContainer(containerId).pause();
    await eventually('the signal', () => lost.length > 0);
    const [workflowId, failure] = lost[0] ?? [];
    assert.equal(workflowId, plan.workflowId);
    assert.equal(failure?.code, 'NOT_HEALTHY');
    assert.match(failure?.message ?? '', /has not been healthy for \d+ s: .*gives no answer/);
  });

  it('asks with the key of the engine', async () => {
    const { plan, containerId } = await host.serve({ image: { healthRoute: '/props' } });
    const other = await host.serve();
    watched = watch(host);
    const { lost } = watched;
    await host.docker.getContainer(other.containerId).pause();
    await eventually('the signal of the other', () => lost.length > 0);
    assert.deepEqual(
      lost.map(([workflowId]) => workflowId),
      [other.plan.workflowId],
      `${plan.workflowId} with ${containerId} answers /props to its key only`,
    );
  });

  it('tells again until it is heard', async () => {
    let refusals = 2;
    const { containerId } = await host.serve();
    watched = watch(host, () => {
      if (refusals-- > 0) throw new Error('Temporal is away');
      return 'delivered';
    });
    const { lost } = watched;
    await host.docker.getContainer(containerId).kill();
    await eventually('the signal', () => lost.length > 0);
    assert.equal(refusals, -1);
  });

  it('removes a lost container whose workflow is over', async () => {
    const { plan, containerId } = await host.serve();
    watched = watch(host, () => 'gone');
    await host.docker.getContainer(containerId).kill();
    await eventually(
      'the removal',
      async () => (await host.run(host.activities.listContainers)).length === 0,
    );
    await eventually('no record', async () => (await host.records.read(plan.replicaId)) === null);
  });

  it('beats, and ends with a retryable failure when the agent stops', async () => {
    const stopping = new AbortController();
    const { docker, installation, records } = host;
    const { watchHost } = createWatchActivity({
      docker,
      installation,
      records,
      log,
      signal: async () => 'delivered',
      stopping: stopping.signal,
    });
    const environment = activityEnvironment();
    let beats = 0;
    environment.on('heartbeat', () => beats++);
    const running = environment.run(watchHost, { hostId: 'h' });
    const ended = assert.rejects(running, (error: unknown) => {
      assert.ok(error instanceof ApplicationFailure);
      assert.equal(error.nonRetryable, false);
      return true;
    });
    await eventually('a heartbeat', () => beats > 0);
    stopping.abort();
    await ended;
  });

  it('ends when it is cancelled', async () => {
    const { docker, installation, records } = host;
    const { watchHost } = createWatchActivity({
      docker,
      installation,
      records,
      log,
      signal: async () => 'delivered',
      stopping: new AbortController().signal,
    });
    const environment = activityEnvironment();
    const running = environment.run(watchHost, { hostId: 'h' });
    const ended = assert.rejects(running, CancelledFailure);
    environment.cancel();
    await ended;
  });
});

describe("agent: Docker's events", () => {
  it('are followed again after the stream broke, and the gap is looked at', async () => {
    const streams: PassThrough[] = [];
    let refuse = false;
    const opened = new EventEmitter();
    const ended: (string | null)[] = [];
    const source = {
      getEvents: async () => {
        opened.emit('asked');
        if (refuse) throw new Error('connect ENOENT');
        const stream = new PassThrough();
        streams.push(stream);
        return stream;
      },
    };
    const ending = new AbortController();
    const following = followEvents(source, 'i', (id) => ended.push(id), ending.signal);
    await eventually('the first look', () => ended.length === 1);
    streams[0]?.write('{"Action":"die","Actor":{"ID":"a"}}\n{"Action":"destroy","Actor":{"ID":"b"}}\n');
    await eventually('both events', () => ended.length === 3);
    refuse = true;
    streams[0]?.destroy(new Error('socket hang up'));
    await new Promise((resolve) => opened.once('asked', resolve));
    assert.deepEqual(ended, [null, 'a', 'b']);
    refuse = false;
    await eventually('the look after the gap', () => ended.length === 4);
    streams[1]?.end();
    await eventually('the look after an orderly end', () => ended.length === 5);
    assert.deepEqual(ended.slice(3), [null, null]);
    ending.abort();
    streams[2]?.destroy();
    await following;
  });
});

describe('agent: records', () => {
  it('survive, are replaced whole, and are gone when removed', async function () {
    await needDocker(this);
    const host = await TestHost.open();
    try {
      const { sealed: _, ...plan } = await host.plan();
      const record: ReplicaRecord = { plan, containerId: 'c', address: 'http://127.0.0.1:1', readyAt: null };
      await host.records.write(record);
      assert.deepEqual(await host.records.all(), [record]);
      await host.records.markReady(plan.replicaId, 'another');
      assert.equal((await host.records.read(plan.replicaId))?.readyAt, null);
      await host.records.markReady(plan.replicaId, 'c');
      assert.ok((await host.records.read(plan.replicaId))?.readyAt);
      await host.records.remove(plan.replicaId);
      await host.records.markReady(plan.replicaId, 'c');
      assert.deepEqual(await host.records.all(), []);
      await assert.rejects(host.records.read('../x'), /not a replica id/);
    } finally {
      await host.close();
    }
  });
});
