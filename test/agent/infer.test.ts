import assert from 'node:assert/strict';
import { pino } from 'pino';
import type { Failure } from '../../spec/errors.ts';
import type { ReplicaPlan } from '../../spec/lifecycle.ts';
import { HostWatch } from '../../worker/agent/host-watch.ts';
import { LostGpus } from '../../worker/agent/lost-gpus.ts';
import { needDocker, TestHost } from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';
import { STUB_ENGINE } from './stub-engine.ts';

const ROUND_MS = 300;

/** Engines that go on saying that they are healthy. */
describe('agent: healthy, but of no use', () => {
  let host: TestHost;
  let stop: () => Promise<void> = async () => undefined;
  let lost: Failure[] = [];

  before(async function () {
    await needDocker(this);
  });
  beforeEach(async () => {
    host = await TestHost.open();
    lost = [];
  });
  afterEach(async () => {
    await stop();
    await host.close();
  });

  /** A replica whose engine is the stub, watched. */
  async function serve(change: (plan: ReplicaPlan) => void = () => undefined): Promise<string> {
    const plan = await host.plan({
      input: { command: STUB_ENGINE },
      other: { custom: { url: process.env.TEST_LLAMACPP_IMAGE ?? '', port: 8080, healthRoute: '/health' } },
    });
    plan.readiness.inference = { method: 'POST', path: '/infer', body: { n: 1 }, timeoutMs: 60_000 };
    change(plan);
    const { containerId } = await host.run(host.activities.startContainer, plan);
    await host.run(host.activities.waitReady, plan);
    const ending = new AbortController();
    const { docker, installation, records } = host;
    const running = new HostWatch({
      docker,
      installation,
      records,
      log: pino({ level: 'silent' }),
      probeEveryMs: ROUND_MS,
      signal: async (_workflow, failure) => {
        lost.push(failure);
        return 'delivered';
      },
    }).run(ending.signal);
    stop = () => {
      ending.abort();
      return running;
    };
    return containerId;
  }
  const signal = (id: string, name: string) => host.docker.getContainer(id).kill({ signal: name });
  const loss = async () => {
    await eventually('a loss', () => lost.length > 0, { timeoutMs: 30_000 });
    return lost[0];
  };

  it('one whose every answer is an error is lost', async () => {
    const id = await serve();
    await new Promise((resolve) => setTimeout(resolve, 8 * ROUND_MS));
    assert.deepEqual(lost, [], 'as long as it infers nothing is said');
    await signal(id, 'SIGHUP');
    const failure = await loss();
    assert.equal(failure?.code, 'INFERENCE_FAILED');
    assert.match(
      failure?.message ?? '',
      /says it is healthy, but for \d+ s no inference succeeded: \/infer answered 500/,
    );
    assert.match(failure?.logTail ?? '', /ready/);
  });

  it('one that accepts and never answers is lost', async () => {
    const id = await serve();
    await signal(id, 'SIGUSR1');
    const failure = await loss();
    assert.equal(failure?.code, 'INFERENCE_FAILED');
    assert.match(failure?.message ?? '', /\/infer gave no answer within/);
  });

  it('one that outgrows its memory is told by the limit it met', async () => {
    const id = await serve((plan) => {
      plan.container.memoryBytes = 64 * 1024 ** 2;
    });
    await signal(id, 'SIGUSR2');
    const failure = await loss();
    assert.equal(failure?.code, 'HOST_OOM', failure?.message);
    assert.equal(failure?.exitCode, 137);
  });

  it('one whose GPU has failed names it, and the card is offered to nobody any more', () => {
    const gpus = new LostGpus();
    const [a, b, c] = [0, 1, 2].map((index) => ({ index, model: 'H100', memoryBytes: 1 }));
    assert.ok(a && b && c);
    const plan = { container: { gpus: [0, 2] } } as ReplicaPlan;
    assert.equal(gpus.note(plan, { code: 'GPU_OOM' }), false);
    assert.deepEqual(gpus.offered([a, b, c]), [a, b, c]);
    assert.equal(gpus.note(plan, { code: 'GPU_LOST' }), true);
    assert.equal(gpus.note(plan, { code: 'GPU_LOST' }), false);
    assert.deepEqual(gpus.offered([a, b, c]), [b]);
  });
});
