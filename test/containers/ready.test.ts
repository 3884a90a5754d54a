import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { ask, listens, sentenceOf } from '../../activities/health/probe.ts';
import type { ErrorCode, Failure } from '../../spec/errors.ts';
import type { ReplicaPlan } from '../../spec/lifecycle.ts';
import {
  activityEnvironment,
  ENGINE_IMAGE,
  needDocker,
  type PlanChange,
  TestHost,
} from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';

/** A container that runs a shell script instead of an engine. */
function script(text: string, image: { healthRoute?: string; port?: number } = {}): PlanChange {
  return {
    other: { custom: { url: ENGINE_IMAGE, port: 8080, ...image } },
    input: { command: ['/bin/sh'], args: ['-c', text] },
  };
}

/** The engine itself, run as a custom container. */
const serving = (port: number) =>
  `exec $(command -v llama-server || echo /app/llama-server) -m /repository/*.gguf --ctx-size 256 --host 0.0.0.0 --port ${port}`;

describe('readiness', () => {
  let host: TestHost;

  before(async function () {
    await needDocker(this);
    host = await TestHost.open();
  });
  after(() => host?.close());

  /** Starts and waits; gives back how that failed. */
  async function failureOf(plan: ReplicaPlan): Promise<Failure & { retried: boolean }> {
    try {
      await host.run(host.activities.startContainer, plan);
      await host.run(host.activities.waitReady, plan);
    } catch (error) {
      assert.ok(error instanceof ApplicationFailure, String(error));
      const [failure] = (error.details ?? []) as Failure[];
      assert.ok(failure);
      assert.equal(error.type, failure.code);
      return { ...failure, retried: !error.nonRetryable };
    }
    throw new Error('it became ready');
  }

  const refusals: [string, PlanChange, ErrorCode, RegExp][] = [
    [
      'an argument the engine does not know',
      { input: { args: ['--bogus'] } },
      'BAD_ARGS',
      /error: invalid argument: --bogus/,
    ],
    [
      'a model file that is not there',
      { image: { modelPath: 'nope.gguf' } },
      'FILE_MISSING',
      /failed to open GGUF file '\/repository\/nope\.gguf'/,
    ],
    [
      'a command that is not in the image',
      { input: { command: ['nosuch'] } },
      'BAD_ARGS',
      /exec nosuch failed/,
    ],
    ['a server that ends by itself', script('echo done; exit 0'), 'CONTAINER_EXITED', /exit code 0/],
    ['a server that crashes', script('echo first; echo second; exit 3'), 'UNKNOWN', /exit code 3.*second/],
  ];
  for (const [name, change, code, message] of refusals) {
    it(`explains ${name}`, async () => {
      const failure = await failureOf(await host.plan(change));
      assert.equal(failure.code, code, failure.message);
      assert.match(failure.message, message);
      assert.ok(failure.logTail);
      assert.equal(failure.retried, false);
    });
  }

  it('says that an engine needs more memory than it has', async () => {
    const plan = await host.plan({ image: { ctxSize: 200_000 }, input: { args: ['--no-warmup'] } });
    plan.container.memoryBytes = 96 * 1024 ** 2;
    const failure = await failureOf(plan);
    assert.equal(failure.code, 'HOST_OOM', failure.message);
    assert.equal(failure.exitCode, 137);
  });

  it('gives the log of both streams without the secrets', async () => {
    const change = script('echo "one $KEY"; echo "two $PEM" >&2; exit 1');
    const secrets = { env: { KEY: 's3cr3t-value', PEM: 'line-one-of-it\nline-two-of-it' } };
    const failure = await failureOf(await host.plan({ ...change, secrets }));
    const text = JSON.stringify(failure);
    // The streams may meet in the middle of a line of the other: a secret of two lines is then two.
    const lines = failure.logTail?.split('\n') ?? [];
    assert.ok(lines.includes('one [secret]') && lines.includes('two [secret]'), text);
    assert.ok(
      lines.every((line) => /^(one |two )?\[secret\]$/.test(line)),
      text,
    );
    assert.doesNotMatch(text, /s3cr3t-value|line-one-of-it|line-two-of-it/);
  });

  it('keeps secrets and the key out of what is written on disk', async () => {
    const plan = await host.plan({ secrets: { env: { KEY: 's3cr3t-value' } } });
    await host.run(host.activities.startContainer, plan);
    const text = JSON.stringify(await host.records.read(plan.replicaId));
    assert.match(text, /some\/model/);
    assert.doesNotMatch(text, /s3cr3t-value|engine-key-of-the-test|sealed/);
    const { Config } = await host.inspect(plan);
    assert.ok(Config.Env.includes('KEY=s3cr3t-value'));
  });

  it('lets neither a secret nor a variable replace what the platform sets', async () => {
    const change = {
      input: { env: { LLAMA_ARG_PORT: '1' } },
      secrets: { env: { LLAMA_API_KEY: 'mine', LLAMA_ARG_HOST: 'x' } },
    };
    const { address } = await host.serve(change);
    const models = await fetch(`${address}/props`, { headers: { authorization: 'Bearer mine' } });
    assert.equal(models.status, 401);
  });

  const unhealthy: [string, PlanChange, RegExp][] = [
    [
      'nothing listens',
      script('echo up; exec sleep 60', { healthRoute: '/health' }),
      /nothing listens on port 8080 of the container/,
    ],
    [
      'another port is used',
      script(serving(9999), { healthRoute: '/health' }),
      /nothing listens on port 8080 of the container/,
    ],
  ];
  for (const [name, change, message] of unhealthy) {
    it(`says at the deadline that ${name}`, async () => {
      const failure = await failureOf(await host.plan({ ...change, deadlineMs: 2500 }));
      assert.equal(failure.code, 'NOT_HEALTHY');
      assert.match(failure.message, message);
      assert.ok(failure.logTail);
      assert.equal(failure.retried, false);
    });
  }

  it('says at the deadline that the health route is another', async () => {
    const { plan } = await host.serve(script(serving(8080), { healthRoute: '/health' }));
    const health = { method: 'GET', path: '/nope', timeoutMs: 5000 } as const;
    const failure = await failureOf({ ...plan, readiness: { ...plan.readiness, health, deadlineMs: 1 } });
    assert.equal(failure.code, 'NOT_HEALTHY');
    assert.match(failure.message, /health route \/nope answered 404 Not Found.*Check healthRoute/);
  });

  it('is not ready when the engine is healthy and cannot infer', async () => {
    const plan = await host.plan();
    // The engine of this container has no embeddings switched on: healthy, and unable to do this.
    plan.readiness.inference = {
      method: 'POST',
      path: '/v1/embeddings',
      body: { input: 'x' },
      timeoutMs: 10_000,
    };
    const failure = await failureOf(plan);
    assert.equal(failure.code, 'INFERENCE_FAILED');
    assert.match(
      failure.message,
      /first inference \(\/v1\/embeddings\) answered 501: "This server does not support/,
    );
    assert.ok(failure.logTail);
  });

  for (const pooling of ['mean', 'none'] as const) {
    it(`makes a real embedding before an embedding engine (pooling ${pooling}) is ready`, async () => {
      await host.serve({ image: { mode: 'embeddings', pooling } });
    });
  }

  it('takes a container without health route as ready once its port is open', async () => {
    const { address } = await host.serve(script(serving(8080)));
    await fetch(`${address}/health`);
  });

  it('is ready at once when it is asked again', async () => {
    const { plan, address } = await host.serve();
    const again = await host.run(host.activities.waitReady, plan);
    assert.equal(again.address, address);
  });

  it('sees the container end while it waits', async () => {
    const plan = await host.plan(script('exec sleep 60', { healthRoute: '/health' }));
    const { containerId } = await host.run(host.activities.startContainer, plan);
    const waiting = host.run(host.activities.waitReady, plan);
    const ended = assert.rejects(waiting, (error: ApplicationFailure) => {
      assert.equal(error.type, 'UNKNOWN');
      assert.match(error.message, /SIGKILL/);
      return true;
    });
    await sleep(100);
    await host.docker.getContainer(containerId).kill();
    await ended;
  });

  it('beats while it waits and ends when it is cancelled', async () => {
    const plan = await host.plan(script('exec sleep 60', { healthRoute: '/health' }));
    await host.run(host.activities.startContainer, plan);
    const environment = activityEnvironment();
    let beats = 0;
    environment.on('heartbeat', () => beats++);
    const waiting = environment.run(host.activities.waitReady, plan);
    const ended = assert.rejects(waiting, (error: Error) => {
      assert.ok(error instanceof CancelledFailure || error.name === 'AbortError', String(error));
      return true;
    });
    await eventually('a heartbeat', () => beats > 0);
    environment.cancel();
    await ended;
  });
});

describe('questions to an engine', () => {
  const signal = new AbortController().signal;
  const probe = { method: 'GET', path: '/x', timeoutMs: 200 } as const;

  it('tells an answer, a refusal, silence and nobody apart, and sends the key', async () => {
    let key: string | undefined;
    const server = createServer((request, response) => {
      key = request.headers.authorization;
      if (request.url === '/silent') return;
      response.statusCode = request.url === '/bad' ? 500 : 200;
      response.end(JSON.stringify({ error: { message: 'no  luck' } }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const address = `http://127.0.0.1:${port}`;
    try {
      assert.deepEqual(await ask(address, probe, 'k', signal), { kind: 'ok' });
      assert.equal(key, 'Bearer k');
      assert.deepEqual(await ask(address, { ...probe, path: '/bad' }, null, signal), {
        kind: 'status',
        status: 500,
        said: 'no luck',
      });
      assert.equal(key, undefined);
      assert.equal((await ask(address, { ...probe, path: '/silent' }, null, signal)).kind, 'timeout');
      assert.equal(await listens(address, 50, signal), true);
    } finally {
      server.closeAllConnections();
      server.close();
    }
    const nobody = `http://127.0.0.1:${await freePort()}`;
    assert.deepEqual(await ask(nobody, probe, null, signal), { kind: 'refused' });
    assert.equal(await listens(nobody, 50, signal), false);
  });

  const bodies: [string, string][] = [
    ['{"error":{"code":503,"message":"Loading model"}}', 'Loading model'],
    ['{"error":"gone"}', 'gone'],
    ['{"message":"m"}', 'm'],
    ['{"detail":"d"}', 'd'],
    ['{"other":1}', '{"other":1}'],
    ['<html> no </html>', '<html> no </html>'],
    ['', ''],
    ['null', 'null'],
  ];
  for (const [body, expected] of bodies) {
    it(`finds the sentence in ${body || 'an empty body'}`, () => assert.equal(sentenceOf(body), expected));
  }
});
