import assert from 'node:assert/strict';
import { gpuGib } from '../../engines/fit/memory.ts';
import { gpuFacts } from '../../engines/gpus.ts';
import { loadPlatformConfig } from '../../runtime/config.ts';

describe('hardware catalogue as shipped', () => {
  const { vendors } = loadPlatformConfig({});
  const rows = vendors.flatMap((vendor) =>
    vendor.regions.flatMap((region) =>
      region.instances.map((instance) => ({ vendor: vendor.name, region: region.name, instance })),
    ),
  );
  const gpus = rows.filter(({ instance }) => instance.accelerator === 'gpu');

  it('names each row once', () => {
    const names = rows.map(({ vendor, region, instance }) =>
      [vendor, region, instance.type, instance.size].join(' '),
    );
    assert.equal(new Set(names).size, names.length);
    const machines = gpus.map(({ instance }) => `${instance.machineType} ${instance.type}`);
    assert.equal(new Set(machines).size, machines.length);
  });

  it('knows the GPUs of each row, and its sizes say how many there are', () => {
    for (const { instance } of gpus) {
      const what = `${instance.type} ${instance.size}`;
      assert.ok(gpuFacts(instance), what);
      assert.equal(Number(/^x(\d)/.exec(instance.size)?.[1]), instance.gpus, what);
      const nominal = (instance.gpuMemoryGb ?? 0) / instance.gpus;
      const seen = gpuGib(instance);
      assert.ok(seen > 0.88 * nominal && seen <= nominal, `${what}: ${seen} of ${nominal}`);
    }
  });

  const families: [machines: RegExp, gpus: number[]][] = [
    [/^g2-standard/, [1, 1, 1, 1, 1, 2, 4, 8]],
    [/^g4-standard/, [1, 2, 4, 8]],
    [/^a2-highgpu/, [1, 2, 4, 8]],
    [/^a2-ultragpu/, [1, 2, 4, 8]],
    [/^a3-highgpu/, [1, 2, 4, 8]],
    [/^a3-(mega|edge|ultra)gpu/, [8, 8, 8]],
    [/^a4-highgpu/, [8]],
    [/^a4x-highgpu/, [4]],
  ];
  for (const [machines, sizes] of families)
    it(`has ${machines.source} with ${sizes.join(', ')} GPUs`, () => {
      const found = gpus.filter(({ instance }) => machines.test(instance.machineType ?? ''));
      assert.deepEqual(
        found.map(({ instance }) => instance.gpus),
        sizes,
      );
    });

  for (const [type, sizes] of [
    ['nvidia-t4', [1, 2, 4]],
    ['nvidia-p4', [1, 2, 4]],
    ['nvidia-p100', [1, 2, 4]],
    ['nvidia-v100', [1, 2, 4, 8]],
  ] as const)
    it(`has N1 machines with ${sizes.join(', ')} ${type}`, () => {
      const found = gpus.filter(({ instance }) => instance.type === type);
      assert.deepEqual(
        found.map(({ instance }) => instance.gpus),
        sizes,
      );
      for (const { instance } of found) assert.match(instance.machineType ?? '', /^n1-standard-\d+$/);
    });
});
