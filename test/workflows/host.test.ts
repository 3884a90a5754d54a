import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { agentJoined, WORKFLOWS } from '../../workflows/messages.ts';
import { eventually } from '../support/eventually.ts';
import { openStage } from './stage.ts';
import { World } from './world.ts';

describe('workflows: a host', () => {
  it('is lost when its agent falls silent: its replicas are replaced without touching it, and it may come back', async () => {
    const world = new World({ endpointId: randomUUID() });
    const name = `t${randomUUID().slice(0, 8)}`;
    const stage = await openStage(world, name);
    const workflowId = `host/${name}`;
    const join = () =>
      stage.client.workflow.signalWithStart(WORKFLOWS.host, {
        workflowId,
        taskQueue: stage.taskQueue,
        args: [{ hostId: stage.hostId }],
        signal: agentJoined,
      });
    await stage.tell();
    await join();
    await eventually('serving', () => world.projection?.state === 'running');
    world.replicaWorkflows = [`replica/ns/${name}/1`, `replica/ns/${name}/99`];
    const stops = world.calls.filter((c) => c.startsWith('stop')).length;

    await stage.stopHost();
    await eventually('declared lost', () => world.hostState === 'lost');
    await eventually('first replica written off', () => [...world.stages.values()][0] === 'failed');
    assert.equal(world.calls.filter((c) => c.startsWith('stop')).length, stops);

    await stage.startHost();
    await join();
    await eventually('back', () => world.hostState === 'ready');
    await eventually('replaced', () => world.projection?.state === 'running' && world.routes.size === 1);

    await stage.client.workflow.getHandle(workflowId).terminate('test over');
    world.wish({ phase: 'deleted' });
    await stage.tell();
    await stage.handle.result();
    await stage.close();
  });
});
