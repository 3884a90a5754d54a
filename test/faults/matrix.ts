import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { dockerClient } from '../../cli/services/docker.ts';
import { ensureEngineImage } from '../../cli/services/engine-image.ts';
import { type PrivateDocker, startPrivateDocker } from '../../cli/services/private-docker.ts';
import { cacheDir } from '../../runtime/config.ts';
import { eventually } from '../support/eventually.ts';
import { docker, IMAGE, Installation, needsInstallation } from '../support/installation.ts';
import { query } from '../support/traces.ts';
import { FIRST_CTX, image, type Scene, STEPS, type Step, scaling } from './steps.ts';

const PROCESSES = ['worker', 'agent', 'api', 'gateway', 'temporal', 'postgres', 'dockerd'] as const;
/** DESIGN §10: after the death of any process at any step. */
const CONVERGES_MS = 60_000;
const LOOK_EVERY_MS = 200;
const SURGE = 1;
const REPORT = join(import.meta.dirname, '../../docs/fault-matrix.md');

describe('faults: kill -9', function () {
  this.timeout(240_000);
  let dir: string;
  let engine: PrivateDocker;
  let installation: Installation;
  const seconds = new Map<string, string>();
  const cell = (step: Step, victim: string) => `${step.name}/${victim}`;

  before(async function () {
    needsInstallation(this);
    dir = mkdtempSync(join(tmpdir(), 'faults-'));
    engine = await startPrivateDocker({ dir: join(dir, 'docker') });
    process.env.DOCKER_HOST = engine.host;
    await ensureEngineImage({ docker: dockerClient(engine.host), image: IMAGE, cacheDir: cacheDir() });
    installation = await (await Installation.prepare()).up();
  });
  after(async () => {
    if (process.env.FAULTS_REPORT) writeFileSync(REPORT, report());
    await installation?.destroy();
    await engine?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  /** What a failed cell has left would be the next one's surplus. */
  async function clear(): Promise<void> {
    for (const { name } of await query(installation, "SELECT name FROM endpoints WHERE phase <> 'deleted'"))
      await installation.remove(String(name));
    await eventually('nothing is left', async () => (await installation.containers()).length === 0, {
      timeoutMs: 120_000,
    });
  }

  let number = 0;
  for (const step of STEPS)
    for (const victim of PROCESSES)
      it(`${victim} at ${step.name}`, async () => {
        number += 1;
        const scene = { installation, name: `f-${number}` };
        seconds.set(cell(step, victim), 'failed');
        await clear();
        await set(scene, step.from);
        await step.begin(scene);
        await eventually(step.name, () => step.reached(scene), { timeoutMs: 60_000, everyMs: 5 });
        await kill(victim);
        const killedAt = performance.now();
        const most = watchContainers(scene);
        let wrong: string | null = 'nothing was looked at';
        try {
          while (wrong !== null && performance.now() - killedAt < CONVERGES_MS) {
            await sleep(LOOK_EVERY_MS);
            wrong = await amiss(scene, step).catch(String);
          }
        } finally {
          installation.hub.fault = undefined;
        }
        const seen = await most.end();
        if (wrong !== null) throw new Error(`after ${CONVERGES_MS / 1000} s: ${wrong}`);
        const allowed = Math.max(step.outcome?.replicas ?? 0, step.from === 'two running' ? 2 : 1) + SURGE;
        if (seen > allowed) throw new Error(`${seen} containers ran at once, ${allowed} are allowed`);
        seconds.set(cell(step, victim), ((performance.now() - killedAt) / 1000).toFixed(1));
      });

  async function set(scene: Scene, from: Step['from']): Promise<void> {
    if (from === 'nothing') return;
    const replicas = from === 'one running' ? 1 : 2;
    await installation.create(scene.name, { scaling: scaling(replicas), image: image(FIRST_CTX) });
    await eventually(
      from,
      async () => (await installation.get(scene.name)).status.readyReplica === replicas,
      { timeoutMs: 90_000 },
    );
  }

  async function kill(victim: (typeof PROCESSES)[number]): Promise<void> {
    if (victim === 'dockerd') await engine.crash();
    else installation.kill(victim);
  }

  /** Every acknowledged write is reflected, and what is there is what the endpoint owns; else what is not so. */
  async function amiss({ name }: Scene, { outcome }: Step): Promise<string | null> {
    const replicas = outcome?.replicas ?? 0;
    const containers = await installation.containers();
    const alive = await query(
      installation,
      "SELECT id, stage FROM replicas WHERE stage NOT IN ('stopped', 'failed')",
    );
    const routes = await query(installation, 'SELECT replica_id, state FROM routes');
    if ([containers, alive, routes].some(({ length }) => length !== replicas))
      return `${containers.length} containers, replicas ${JSON.stringify(alive)}, routes ${JSON.stringify(routes)}`;
    if (!outcome) {
      const path = `/v2/endpoint/${installation.connection.namespace}/${name}`;
      const { status } = await installation.api('GET', path);
      return status === 404 ? null : `GET answers ${status}`;
    }
    const { status } = await installation.get(name);
    if (status.state !== 'running' || status.readyReplica !== replicas) return JSON.stringify(status);
    for (const id of containers) {
      const [command = ''] = docker('inspect', '--format', '{{.State.Running}} {{json .Args}}', id);
      if (!command.startsWith('true') || !command.includes(`"${outcome.ctxSize}"`)) return command;
    }
    await installation.chat(name);
    return null;
  }

  /** The most containers of the endpoint that ran at the same time. */
  function watchContainers({ name }: Scene): { end(): Promise<number> } {
    let most = 0;
    let stop = false;
    const watching = (async () => {
      while (!stop) {
        try {
          const ids = await installation.containers(name);
          const running = ids.filter((id) => isRunning(id));
          most = Math.max(most, running.length);
        } catch {
          // The Docker engine is away, or the container went in between.
        }
        await sleep(500);
      }
      return most;
    })();
    return {
      end: () => {
        stop = true;
        return watching;
      },
    };
  }

  function report(): string {
    const rows = STEPS.map(({ name }) => [
      name,
      ...PROCESSES.map((victim) => seconds.get(`${name}/${victim}`) ?? '–'),
    ]);
    const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
    const table = [['killed at', ...PROCESSES], ['---', ...PROCESSES.map(() => '---:')], ...rows].map(line);
    return `# What \`kill -9\` costs

Written by \`FAULTS_REPORT=1 npm run test:faults\`. Each cell is one run on a whole installation: the process is killed at that
step, and the seconds are those until everything is as the last acknowledged write wants it: state, replicas, routes and
containers agree, no container too many at any moment, and the endpoint answers. More than ${CONVERGES_MS / 1000} is a failure. The seconds
include what the step itself takes (a start, a rollout). \`dockerd\` takes its containers with it and is started again at once.

${table.join('\n')}
`;
  }
});

function isRunning(id: string): boolean {
  return docker('inspect', '--format', '{{.State.Running}}', id)[0] === 'true';
}
