import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { dockerClient } from '../../cli/services/docker.ts';
import { ensureEngineImage } from '../../cli/services/engine-image.ts';
import { type PrivateDocker, startPrivateDocker } from '../../cli/services/private-docker.ts';
import { cacheDir } from '../../runtime/config.ts';
import { eventually } from '../support/eventually.ts';
import { IMAGE, Installation, needsInstallation } from '../support/installation.ts';
import { skip } from '../support/needs.ts';
import { cellOf, keepResult, readResults, VERSION } from './results.ts';
import { FIRST_CTX, image, type Scene, STEPS, type Step, scaling } from './steps.ts';
import { CONVERGES_MS, containersOf, kill, PROCESSES, running, VICTIMS } from './victims.ts';

const LOOK_EVERY_MS = 200;
const SURGE = 1;
/** What has been shown by this version already is not shown again. */
const MISSING_ONLY = process.env.FAULTS_MISSING === '1';
/** No cell begins later than so long after the first. */
const MINUTES = Number(process.env.FAULTS_MINUTES ?? Number.POSITIVE_INFINITY);

/** What the store holds on behalf of replicas that live, and the requests it counts as in hand. */
const OWNED = `SELECT
  (SELECT coalesce(json_agg(replica_id), '[]') FROM allocations) AS places,
  (SELECT coalesce(json_agg(json_build_array(id, stage)), '[]') FROM replicas
    WHERE stage NOT IN ('stopped', 'failed')) AS alive,
  (SELECT coalesce(json_agg(json_build_array(replica_id, state)), '[]') FROM routes) AS routes,
  (SELECT coalesce(json_agg(json_build_array(pending, in_flight)), '[]')
    FROM gateway_load l JOIN gateways g ON g.id = l.gateway_id
    WHERE g.seen_at > now() - interval '5 s'
      AND (pending <> 0 OR EXISTS (SELECT 1 FROM jsonb_each_text(in_flight) t WHERE t.value::int <> 0))) AS busy`;

describe('faults: kill -9', function () {
  this.timeout(300_000);
  let dir: string;
  let engine: PrivateDocker;
  let installation: Installation;
  let over = Number.POSITIVE_INFINITY;

  before(async function () {
    needsInstallation(this);
    dir = mkdtempSync(join(tmpdir(), 'faults-'));
    engine = await startPrivateDocker({ dir: join(dir, 'docker') });
    process.env.DOCKER_HOST = engine.host;
    await ensureEngineImage({ docker: dockerClient(engine.host), image: IMAGE, cacheDir: cacheDir() });
    installation = await (await Installation.prepare()).up();
    over = performance.now() + MINUTES * 60_000;
  });
  after(async () => {
    await installation?.destroy();
    await engine?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  const known = MISSING_ONLY ? readResults() : {};
  let number = 0;
  for (const step of STEPS)
    for (const victim of VICTIMS) {
      const cell = cellOf(step.name, victim);
      const before = known[cell];
      if (before?.version === VERSION && before.seconds !== null) continue;
      it(`${victim} at ${step.name}`, async function () {
        if (performance.now() > over) skip(this, 'the time of this part is over');
        number += 1;
        const scene = { installation, name: `f-${number}` };
        try {
          // What a failed one has left would be this one's surplus.
          await clear();
          keepResult(cell, { seconds: await shown(scene, step, victim) });
          await clear();
        } catch (error) {
          keepResult(cell, { seconds: null, why: String(error) });
          throw error;
        }
      });
    }

  /** Seconds from the kill until everything is as it must be. */
  async function shown(scene: Scene, step: Step, victim: string): Promise<number> {
    await set(scene, step.from);
    await step.begin(scene);
    await eventually(step.name, () => step.reached(scene), { timeoutMs: 60_000, everyMs: 5 });
    const killedAt = performance.now();
    const untouched = await kill(victim, { engine, installation });
    const most = watchContainers();
    const kept = step.outcome && !step.ends ? untouched : [];
    let wrong: string | null = 'nothing was looked at';
    try {
      while (wrong !== null && performance.now() - killedAt < CONVERGES_MS) {
        await sleep(LOOK_EVERY_MS);
        wrong = await amiss(scene, step, kept).catch(String);
      }
    } finally {
      installation.hub.fault = undefined;
    }
    const tookMs = performance.now() - killedAt;
    const seen = await most.end();
    if (wrong !== null) throw new Error(`after ${CONVERGES_MS / 1000} s: ${wrong}`);
    // The last look may have had to wait for its answer.
    if (tookMs > CONVERGES_MS) throw new Error(`right only after ${(tookMs / 1000).toFixed(1)} s`);
    const allowed = Math.max(step.outcome?.replicas ?? 0, step.from === 'two running' ? 2 : 1) + SURGE;
    if (seen > allowed) throw new Error(`${seen} containers ran at once, ${allowed} are allowed`);
    return tookMs / 1000;
  }

  async function clear(): Promise<void> {
    for (const { name } of await installation.query("SELECT name FROM endpoints WHERE phase <> 'deleted'"))
      await installation.remove(String(name));
    await eventually('nothing is left', async () => (await installation.containers()).length === 0, {
      timeoutMs: 120_000,
    });
    // What was killed may take longer to come back than all it was needed for.
    await eventually('all processes run', () => PROCESSES.every((name) => installation.runs(name)));
  }

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

  /** Every acknowledged write is reflected, and what is there is what the endpoint owns; else what is not so. */
  async function amiss({ name }: Scene, { outcome }: Step, kept: readonly string[]): Promise<string | null> {
    const replicas = outcome?.replicas ?? 0;
    const containers = await containersOf(engine, installation);
    const [row] = await installation.query(OWNED);
    const { places, busy, alive, routes } = row as Record<'places' | 'busy' | 'alive' | 'routes', unknown[]>;
    if ([containers, places, alive, routes].some(({ length }) => length !== replicas))
      return JSON.stringify({ containers: containers.map(({ Names }) => Names), places, alive, routes });
    if (busy.length > 0) return `in flight: ${JSON.stringify(busy)}`;
    if (!outcome) {
      const path = `/v2/endpoint/${installation.connection.namespace}/${name}`;
      const { status } = await installation.api('GET', path);
      return status === 404 ? null : `GET answers ${status}`;
    }
    const { status } = await installation.get(name);
    if (status.state !== 'running' || status.readyReplica !== replicas) return JSON.stringify(status);
    for (const { Command, State, Names } of containers)
      if (State !== 'running' || !Command.split(' ').includes(String(outcome.ctxSize)))
        return `${Names} is ${State}: ${Command}`;
    const now = await running(engine, installation);
    const lost = kept.filter((container) => !now.includes(container));
    if (lost.length > 0) return `no longer the same container: ${lost}`;
    await installation.chat(name);
    return null;
  }

  /** The most containers that ran at the same time. */
  function watchContainers(): { end(): Promise<number> } {
    let most = 0;
    let stop = false;
    const watching = (async () => {
      while (!stop) {
        // The Docker engine may be away.
        const now = await containersOf(engine, installation).catch(() => []);
        most = Math.max(most, now.filter(({ State }) => State === 'running').length);
        await sleep(LOOK_EVERY_MS);
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
});
