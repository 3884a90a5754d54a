import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { containerOptions } from '../../activities/containers/create.ts';
import { engineFor } from '../../engines/index.ts';
import { imageSchema } from '../../spec/images.ts';
import type { ContainerDescription } from '../../spec/lifecycle.ts';
import { CASES, type Case } from './fixtures/cases.ts';
import { FLAGS, VARIABLES } from './fixtures/flags.ts';
import { HARDWARE } from './fixtures/hardware.ts';

/** Reviewed by eye: what every case asks of Docker and of the engine. Written anew with UPDATE_SNAPSHOTS=1. */
const SNAPSHOT = join(import.meta.dirname, 'fixtures', 'containers.snapshot.txt');
const MIB = 1024 ** 2;

function containerOf({ image, on, model, task, args, command, env }: Case): ContainerDescription {
  const { engine, settings } = engineFor(image);
  const instance = HARDWARE[on];
  return engine.container({
    settings,
    instance,
    env: env ?? {},
    command: command ?? [],
    args: args ?? [],
    gpus: Array.from({ length: instance.gpus }, (_, index) => index),
    servedName: model,
    task: task ?? null,
  });
}

function title(of: Case): string {
  return `${engineFor(of.image).engine.name}: ${of.name} (${of.model} on ${of.on})`;
}

/** Mounts and devices as Docker is asked for them. */
function hostConfigOf(of: Case) {
  const { engine } = engineFor(of.image);
  const { HostConfig } = containerOptions(
    {
      ...{ replicaId: 'r', endpointId: 'e', workflowId: 'w', revision: 1, containerName: 'c', sealed: '' },
      weights: null,
      container: containerOf(of),
      readiness: { engine: engine.name, health: null, inference: null, deadlineMs: 1 },
    },
    { env: {}, registry: null, hubToken: null, engineKey: 'key' },
    { installation: 'i', networkId: 'n', address: '127.0.0.1', weightsPath: '<weights>' },
  );
  return HostConfig ?? {};
}

function render(of: Case): string {
  const { engine, settings } = engineFor(of.image);
  const container = containerOf(of);
  const { Mounts, DeviceRequests, Memory = 0, CpuQuota = 0, CpuPeriod = 1 } = hostConfigOf(of);
  const health = engine.readiness(settings);
  const probe = engine.inference(settings, of.model, { task: of.task ?? null, args: of.args ?? [] });
  const lines = [
    `image ${container.image}`,
    ...(container.entrypoint.length ? [`entrypoint ${container.entrypoint.join(' ')}`] : []),
    `args ${container.args.join(' ')}`.trim(),
    ...Object.entries(container.env)
      .sort()
      .map(([name, value]) => `env ${name}=${value}`),
    ...(engine.apiKeyVariable ? [`env ${engine.apiKeyVariable}=<key>`] : []),
    `port ${container.port}, shm ${container.shmBytes / MIB} MiB, memory ${Memory / MIB} MiB, ${CpuQuota / CpuPeriod} CPUs`,
    ...(Mounts ?? []).map(
      ({ Type, Source, Target, ReadOnly }) =>
        `mount ${Type} ${Source} at ${Target}, ${ReadOnly ? 'read only' : 'writable'}`,
    ),
    ...(DeviceRequests ?? []).map(
      ({ Driver, DeviceIDs, Capabilities }) =>
        `devices ${Driver} ${DeviceIDs?.join(' ')} ${JSON.stringify(Capabilities)}`,
    ),
    ...(container.ulimits ?? []).map(({ name, soft, hard }) => `ulimit ${name} ${soft}:${hard}`),
    `health ${health ? `${health.path} within ${health.timeoutMs} ms` : 'none'}`,
    `inference ${probe ? `${probe.path} ${JSON.stringify(probe.body)}` : 'none'}`,
    `stop ${container.stopSignal}, ${container.stopGraceMs / 1000} s`,
  ];
  return `# ${title(of)}\n${lines.map((line) => `  ${line}\n`).join('')}`;
}

describe('containers of the engines', () => {
  let reviewed = new Map<string, string>();

  before(async () => {
    if (process.env.UPDATE_SNAPSHOTS) await writeFile(SNAPSHOT, CASES.map(render).join('\n'));
    const blocks = (await readFile(SNAPSHOT, 'utf8')).split(/\n(?=# )/).map((text) => `${text.trimEnd()}\n`);
    reviewed = new Map(blocks.map((block) => [block.slice(2, block.indexOf('\n')), block]));
  });

  for (const of of CASES) {
    it(title(of), () => assert.equal(render(of), reviewed.get(title(of))));
  }

  it('are reviewed for exactly the cases there are', () => {
    assert.deepEqual([...reviewed.keys()], CASES.map(title));
    assert.ok(CASES.length >= 60);
  });

  it('are of cases the API accepts', () => {
    for (const of of CASES) {
      assert.deepEqual(imageSchema.parse(of.image), of.image);
      const { engine, settings } = engineFor(of.image);
      const { task = null, args = [], command = [], env = {} } = of;
      assert.equal(engine.checkArgs(args), null, title(of));
      assert.equal(
        engine.checkSettings(settings, HARDWARE[of.on], { task, args, command, env }),
        null,
        title(of),
      );
    }
  });

  it('use only flags and variables that the servers document', () => {
    for (const of of CASES) {
      const { engine } = engineFor(of.image);
      const { args, env } = containerOf(of);
      if (engine.name !== 'custom')
        for (const arg of args.filter((text) => /^--?[a-z]/.test(text)))
          assert.ok(FLAGS[engine.name]?.has(arg.split('=')[0] ?? ''), `${title(of)}: ${arg}`);
      for (const name of Object.keys(env))
        assert.ok(
          VARIABLES[engine.name]?.has(name) || Object.hasOwn(of.env ?? {}, name),
          `${title(of)}: ${name}`,
        );
    }
  });

  it('hold no variable the engine owns with the value of the owner', () => {
    for (const of of CASES) {
      const { engine } = engineFor(of.image);
      const { env } = containerOf(of);
      for (const [name, value] of Object.entries(of.env ?? {}))
        if (engine.ownsVariable(name) && name !== 'MODEL_ID') assert.notEqual(env[name], value, title(of));
    }
  });
});
