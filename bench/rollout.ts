import { setTimeout as sleep } from 'node:timers/promises';
import { LABELS } from '../spec/names.ts';
import { eventually } from '../test/support/eventually.ts';
import { docker, type Installation } from '../test/support/installation.ts';
import { Caller } from './soak/caller.ts';
import { measure } from './support/stage.ts';
import { STUB_ENGINE } from './support/stub-engine.ts';

/**
 * 200 requests/s of short, slow and streamed requests against three replicas and two gateway processes while all that may
 * happen to an endpoint happens: a rolling update, a replica killed, one that hangs, the gateways replaced, 3 → 1 → 3 replicas.
 * Bars: no failed request other than a stream whose own replica was killed, and the 95th percentile of the short ones at most
 * 10 ms over the quiet phase's; for the killed and the hanging replica without the second after.
 */
const PER_SECOND = 200;
const QUIET_MS = 15_000;
const OVER_QUIET_MS = 10;
const NAME = 'busy';
const DEADLINE_MS = 150_000;
process.env.GATEWAY_PROCESSES = '2';

interface Phase {
  name: string;
  caller: Caller;
  /** Replicas that were killed in it, or hung. */
  lost: Set<string>;
}

await measure(async (installation) => {
  const scaling = (replicas: number) => ({
    minReplica: replicas,
    maxReplica: replicas,
    scaleToZeroTimeout: null,
  });
  const path = `/v2/endpoint/${installation.connection.namespace}/${NAME}`;
  const put = async (body: object) => {
    const { status, body: answer } = await installation.api('PUT', path, body);
    if (status !== 200) throw new Error(`PUT: ${status} ${JSON.stringify(answer)}`);
  };
  await installation.create(NAME, { ...STUB_ENGINE, scaling: scaling(3) });
  await settled(installation, 3);
  const phases: Phase[] = [];
  const phase = async (name: string, during: (lost: Set<string>) => Promise<void>) => {
    const { gateway, namespace, token } = installation.connection;
    const caller = new Caller(Number(new URL(gateway).port), `/${namespace}/${NAME}`, token);
    const stop = new AbortController();
    const lost = new Set<string>();
    const calling = caller.atRate(PER_SECOND, Date.now() + DEADLINE_MS, stop.signal);
    await sleep(1000);
    try {
      await during(lost);
      await sleep(2000);
    } finally {
      stop.abort();
      await calling;
      caller.close();
    }
    phases.push({ name, caller, lost });
  };

  await phase('quiet', () => sleep(QUIET_MS));
  await phase('rolling update', async () => {
    const before = new Set(await installation.containers(NAME));
    await put({ model: { env: { ROLL: 'on' } } });
    await eventually(
      'three other containers',
      async () =>
        (await installation.containers(NAME)).every((id) => !before.has(id)) && isSettled(installation, 3),
      { timeoutMs: DEADLINE_MS, everyMs: 500 },
    );
  });
  await phase('a replica killed', async (lost) => {
    const [victim = ''] = await installation.containers(NAME);
    lost.add(replicaOf(victim));
    docker('kill', '--signal', 'KILL', victim);
    await replaced(installation, victim);
  });
  await phase('a replica hangs', async (lost) => {
    const [victim = ''] = await installation.containers(NAME);
    lost.add(replicaOf(victim));
    docker('pause', victim);
    await replaced(installation, victim);
  });
  await phase('gateways replaced', async () => {
    process.kill(installation.pid('gateway'), 'SIGHUP');
    await eventually(
      'both replaced',
      () => /gateways replaced|all replaced/.test(installation.log('gateway')),
      {
        timeoutMs: DEADLINE_MS,
        everyMs: 200,
      },
    );
  });
  await phase('3 → 1 → 3 replicas', async () => {
    await put({ compute: { scaling: scaling(1) } });
    await settled(installation, 1);
    await put({ compute: { scaling: scaling(3) } });
    await settled(installation, 3);
  });
  await installation.remove(NAME);

  const quiet = p95(phases[0]);
  console.table(
    phases.map(({ name, caller: { tally }, lost }) => ({
      phase: name,
      requests: tally.sent,
      failed: tally.failed.length,
      'streams cut, own replica lost': tally.cut.filter((replica) => lost.has(replica)).length,
      'streams cut otherwise': tally.cut.filter((replica) => !lost.has(replica)).length,
      'short p95 ms': Number(p95({ caller: { tally } }).toFixed(1)),
      'over quiet': Number((p95({ caller: { tally } }) - quiet).toFixed(1)),
    })),
  );
  for (const { name, caller } of phases)
    for (const what of new Set(caller.tally.failed.slice(0, 5))) console.log(`${name}: ${what}`);
  return phases.every(
    ({ caller: { tally }, lost }) =>
      tally.failed.length === 0 &&
      tally.cut.every((replica) => lost.has(replica)) &&
      p95({ caller: { tally } }) <= quiet + OVER_QUIET_MS,
  );
});

function p95(phase: { caller: Pick<Caller, 'tally'> } | undefined): number {
  const sorted = [...(phase?.caller.tally.latenciesMs ?? [])].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.95)] ?? Number.NaN;
}

function replicaOf(container: string): string {
  return docker('inspect', '--format', `{{index .Config.Labels "${LABELS.replica}"}}`, container)[0] ?? '';
}

async function isSettled(installation: Installation, replicas: number): Promise<boolean> {
  const { status } = await installation.get(NAME);
  const containers = await installation.containers(NAME);
  return status.state === 'running' && status.readyReplica === replicas && containers.length === replicas;
}

async function settled(installation: Installation, replicas: number): Promise<void> {
  await eventually(`${replicas} replicas`, () => isSettled(installation, replicas), {
    timeoutMs: DEADLINE_MS,
    everyMs: 200,
  });
}

async function replaced(installation: Installation, victim: string): Promise<void> {
  await eventually(
    'replaced',
    async () => !(await installation.containers(NAME)).includes(victim) && isSettled(installation, 3),
    { timeoutMs: DEADLINE_MS, everyMs: 200 },
  );
}
