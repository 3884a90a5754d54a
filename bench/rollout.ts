import { setTimeout as sleep } from 'node:timers/promises';
import { goFirst } from '../runtime/process.ts';
import { LABELS } from '../spec/names.ts';
import { eventually } from '../test/support/eventually.ts';
import { askDocker, type Installation } from '../test/support/installation.ts';
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
/** Every phase is as long as the quiet one, or longer. */
const QUIET_MS = 15_000;
const OVER_QUIET_MS = 10;
/** A short request sent so long before the loss may still be under way then. */
const SLOWEST_MS = 100;
const NAME = 'busy';
const DEADLINE_MS = 150_000;
process.env.GATEWAY_PROCESSES = '2';
// What is slow is not to be the one who asks.
goFirst();

interface Phase {
  name: string;
  caller: Caller;
  /** Replicas that were killed in it, or hung. */
  lost: Set<string>;
  /** When that was (`Date.now()`): the second that follows does not count for the percentile. */
  lostAt: number;
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
  const phase = async (name: string, during: (phase: Phase) => Promise<void>) => {
    const { gateway, namespace, token } = installation.connection;
    const caller = new Caller(Number(new URL(gateway).port), `/${namespace}/${NAME}`, token);
    const stop = new AbortController();
    const here: Phase = { name, caller, lost: new Set(), lostAt: Number.NaN };
    const calling = caller.atRate(PER_SECOND, Date.now() + DEADLINE_MS, stop.signal);
    await sleep(1000);
    try {
      await Promise.all([during(here), sleep(QUIET_MS)]);
      await sleep(2000);
    } finally {
      stop.abort();
      await calling;
      caller.close();
    }
    phases.push(here);
  };

  await phase('quiet', () => Promise.resolve());
  await phase('rolling update', async () => {
    const before = new Set(await installation.containers(NAME));
    await put({ model: { env: { ROLL: 'on' } } });
    await eventually(
      'three other containers',
      async () =>
        (await isSettled(installation, 3)) &&
        (await installation.containers(NAME)).every((id) => !before.has(id)),
      { timeoutMs: DEADLINE_MS, everyMs: 500 },
    );
  });
  await phase('a replica killed', async (here) => {
    const [victim = ''] = await installation.containers(NAME);
    here.lost.add(await replicaOf(victim));
    here.lostAt = Date.now();
    await askDocker('kill', '--signal', 'KILL', victim);
    await replaced(installation, victim);
  });
  await phase('a replica hangs', async (here) => {
    const [victim = ''] = await installation.containers(NAME);
    here.lost.add(await replicaOf(victim));
    here.lostAt = Date.now();
    await askDocker('pause', victim);
    await replaced(installation, victim);
  });
  await phase('gateways replaced', async () => {
    process.kill(installation.pid('gateway'), 'SIGHUP');
    await eventually('both replaced', () => /all processes replaced/.test(installation.log('gateway')), {
      timeoutMs: DEADLINE_MS,
      everyMs: 500,
    });
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
    phases.map(({ name, caller: { tally }, lost, lostAt }) => ({
      phase: name,
      requests: tally.sent,
      failed: tally.failed.length,
      'streams cut, own replica lost': tally.cut.filter((replica) => lost.has(replica)).length,
      'streams cut otherwise': tally.cut.filter((replica) => !lost.has(replica)).length,
      'short p95 ms': Number(p95({ caller: { tally }, lostAt }).toFixed(1)),
      'over quiet': Number((p95({ caller: { tally }, lostAt }) - quiet).toFixed(1)),
    })),
  );
  for (const { name, caller } of phases)
    for (const what of new Set(caller.tally.failed.slice(0, 5))) console.log(`${name}: ${what}`);
  return phases.every(
    ({ caller: { tally }, lost, lostAt }) =>
      tally.failed.length === 0 &&
      tally.cut.every((replica) => lost.has(replica)) &&
      p95({ caller: { tally }, lostAt }) <= quiet + OVER_QUIET_MS,
  );
});

function p95(phase: { caller: Pick<Caller, 'tally'>; lostAt: number } | undefined): number {
  const counted = (phase?.caller.tally.short ?? []).filter(({ at }) => !isSecondAfter(at, phase?.lostAt));
  const sorted = counted.map(({ ms }) => ms).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.95)] ?? Number.NaN;
}

function isSecondAfter(at: number, lostAt = Number.NaN): boolean {
  return at > lostAt - SLOWEST_MS && at < lostAt + 1000;
}

async function replicaOf(container: string): Promise<string> {
  const format = `{{index .Config.Labels "${LABELS.replica}"}}`;
  return (await askDocker('inspect', '--format', format, container))[0] ?? '';
}

async function isSettled(installation: Installation, replicas: number): Promise<boolean> {
  const { status } = await installation.get(NAME);
  // The command costs as much CPU as some hundred requests.
  if (status.state !== 'running' || status.readyReplica !== replicas) return false;
  return (await installation.containers(NAME)).length === replicas;
}

async function settled(installation: Installation, replicas: number): Promise<void> {
  await eventually(`${replicas} replicas`, () => isSettled(installation, replicas), {
    timeoutMs: DEADLINE_MS,
    everyMs: 500,
  });
}

async function replaced(installation: Installation, victim: string): Promise<void> {
  await eventually(
    'replaced',
    async () => (await isSettled(installation, 3)) && !(await installation.containers(NAME)).includes(victim),
    { timeoutMs: DEADLINE_MS, everyMs: 500 },
  );
}
