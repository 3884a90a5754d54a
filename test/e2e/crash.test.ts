import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { docker, Installation, needsInstallation } from '../support/installation.ts';

/**
 * Who is killed when: the installation's processes by their names, and the engine's container. Those that have most in hand
 * then; every process at every step is `npm run test:faults`.
 */
const VICTIMS = {
  download: ['worker', 'agent'],
  start: ['worker', 'temporal', 'container'],
  serving: ['agent', 'api', 'gateway', 'postgres', 'container'],
} as const;
const WEIGHTS_BYTES = 98_362_432;

/**
 * `kill -9` of everything, one at a time, in the steps of a start and while serving. Whatever dies: the endpoint gets to
 * `running` and answers, with exactly one container, and nothing is downloaded twice.
 */
describe('end to end: kill -9', function () {
  this.timeout(180_000);
  let installation: Installation;
  let number = 0;

  before(async function () {
    needsInstallation(this);
    installation = await (await Installation.prepare()).up();
  });
  after(() => installation?.destroy());

  const newName = () => {
    number += 1;
    return `crash-${number}`;
  };
  /** Slow enough that a kill meets the download half way: about three seconds for the file. */
  const slowHub = () => {
    installation.hub.servedBytes = 0;
    installation.hub.fault = ({ method, route }) =>
      method === 'GET' && route?.kind === 'file' ? { kind: 'slow', bytesPerSecond: 8_000_000 } : undefined;
  };
  const message = async (name: string) => (await installation.get(name)).status.message;

  async function settles(name: string): Promise<void> {
    await installation.until(name, 'running', 90_000);
    await eventually(`${name} answers`, () => installation.chat(name), { timeoutMs: 60_000, everyMs: 500 });
    await eventually(
      'one container and no other',
      async () =>
        (await installation.containers(name)).length === 1 && (await installation.containers()).length === 1,
      { timeoutMs: 60_000, everyMs: 500 },
    );
    await installation.remove(name);
  }

  for (const victim of VICTIMS.download) {
    it(`${victim} during the download`, async () => {
      rmSync(join(installation.dir, 'data', 'agent', 'weights'), { recursive: true, force: true });
      slowHub();
      const name = newName();
      await installation.create(name);
      await eventually('half way', async () => /downloading ([3-9]\d) of 98 MB/.test(await message(name)), {
        timeoutMs: 60_000,
      });
      installation.kill(victim);
      await settles(name);
      const served = installation.hub.servedBytes;
      assert.ok(served <= WEIGHTS_BYTES * 1.1, `${served} bytes were sent for a file of ${WEIGHTS_BYTES}`);
      installation.hub.fault = undefined;
    });
  }

  for (const victim of VICTIMS.start) {
    it(`${victim} during the start of the engine`, async () => {
      const name = newName();
      await installation.create(name);
      const [container] = await eventually(
        'container is there',
        async () => {
          const found = await installation.containers(name);
          return found.length > 0 && found;
        },
        { everyMs: 10 },
      );
      kill(victim, container);
      if (victim === 'container') {
        // A start that is killed from outside has no cause to be tried again for; it is tried all the same.
        await eventually(
          'settled',
          async () => ['running', 'failed'].includes((await installation.get(name)).status.state),
          { timeoutMs: 60_000 },
        );
        if ((await installation.get(name)).status.state === 'failed') {
          assert.match((await installation.get(name)).status.errorMessage ?? '', /137|killed/i);
          await installation.api('POST', `/v2/endpoint/${installation.connection.namespace}/${name}/resume`);
        }
      }
      await settles(name);
    });
  }

  for (const victim of VICTIMS.serving) {
    it(`${victim} while serving`, async () => {
      const name = newName();
      await installation.create(name);
      await installation.until(name, 'running');
      const [container] = await installation.containers(name);
      // The gateway may be on its way back from an earlier kill.
      await eventually('answers', () => installation.chat(name), { timeoutMs: 60_000, everyMs: 500 });
      kill(victim, container);
      if (victim === 'container') {
        await eventually(
          'another container serves',
          async () => {
            const [now] = await installation.containers(name);
            return (
              now !== undefined &&
              now !== container &&
              (await installation.get(name)).status.readyReplica === 1
            );
          },
          { timeoutMs: 60_000 },
        );
      }
      await settles(name);
    });
  }

  it('the supervisor itself: the next start ends what it left and finds everything as it was', async () => {
    const name = newName();
    await installation.create(name);
    await installation.until(name, 'running');
    const before = await installation.containers(name);
    await installation.stop('SIGKILL');
    await installation.up();
    await eventually('answers', () => installation.chat(name), { timeoutMs: 60_000, everyMs: 500 });
    assert.deepEqual(await installation.containers(name), before);
    await settles(name);
  });

  function kill(victim: string, container: string | undefined): void {
    if (victim === 'container') docker('kill', '--signal', 'KILL', container ?? '');
    else installation.kill(victim);
  }
});
