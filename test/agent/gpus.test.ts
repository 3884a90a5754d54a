import assert from 'node:assert/strict';
import { NvidiaSmi } from '../../worker/agent/nvidia-smi.ts';
import { HEAD, type Recorded, withNvidiaSmi } from '../support/nvidia-smi.ts';

const MIB = 1024 ** 2;
const uuid = (digit: number) => `GPU-${String(digit).repeat(8)}-aaaa-bbbb-cccc-${String(digit).repeat(12)}`;
const line = (index: number, model: string, mib: number, driver: string, mig: string) =>
  `${index}, ${uuid(index)}, ${mib}, ${driver}, ${mig}, ${model}`;
const look = (recorded: Recorded) => withNvidiaSmi(recorded, () => new NvidiaSmi().look());

describe("agent: the NVIDIA driver's account of a host", () => {
  it('names every GPU by index, with memory, UUID, driver and CUDA', async () => {
    const report = await look({
      list: [
        line(0, 'NVIDIA L4', 23034, '580.65.06', '[N/A]'),
        line(1, 'NVIDIA L4', 23034, '580.65.06', '[N/A]'),
      ].join('\n'),
      plain: HEAD('580.65.06', '13.0'),
    });
    assert.deepEqual(report, {
      gpus: [0, 1].map((index) => ({
        index,
        model: 'NVIDIA L4',
        memoryBytes: 23034 * MIB,
        uuid: uuid(index),
      })),
      driver: { version: '580.65.06', cuda: '13.0' },
      problem: null,
    });
  });

  it('tells GPUs that are cut into slices from whole ones', async () => {
    const { gpus } = await look({
      list: ['Enabled', 'Disabled', 'Enabled']
        .map((mig, index) => line(index, 'NVIDIA H100 80GB HBM3', 81559, '550.54.15', mig))
        .join('\n'),
    });
    assert.deepEqual(
      gpus.map(({ mig }) => mig ?? false),
      [true, false, true],
    );
  });

  it('says how busy each one is, except those in slices and one that has failed', async () => {
    const plain =
      '0, 97\n1, 0\n2, [N/A]\nUnable to determine the device handle for GPU3: Unknown Error\n4, 31';
    const said = await withNvidiaSmi({ list: { text: plain, code: 15 } }, () =>
      new NvidiaSmi().utilization(),
    );
    assert.deepEqual(
      [...said],
      [
        [0, 97],
        [1, 0],
        [4, 31],
      ],
    );
  });

  it('says nothing of that where there is no driver', async () => {
    assert.equal((await new NvidiaSmi().utilization()).size, 0);
  });

  it('asks a driver that knows no slices without them', async () => {
    const report = await look({
      list: { text: 'Field "mig.mode.current" is not a valid field to query.', code: 2 },
      listWithoutMig: `0, ${uuid(0)}, 15109, 418.87.01, Tesla T4`,
      plain: HEAD('418.87.01', '10.1'),
    });
    assert.deepEqual(report, {
      gpus: [{ index: 0, model: 'Tesla T4', memoryBytes: 15109 * MIB, uuid: uuid(0) }],
      driver: { version: '418.87.01', cuda: '10.1' },
      problem: null,
    });
  });

  it('keeps the indexes of the others when one has fallen off the bus', async () => {
    const { gpus, problem } = await look({
      list: {
        text: [
          line(0, 'NVIDIA A100-SXM4-80GB', 81920, '550.54.15', 'Disabled'),
          'Unable to determine the device handle for GPU0000:0B:00.0: GPU is lost.  Reboot the system to recover this GPU',
          line(2, 'NVIDIA A100-SXM4-80GB', 81920, '550.54.15', 'Disabled'),
          '3, [Unknown Error], [N/A], 550.54.15, [N/A], NVIDIA A100-SXM4-80GB',
        ].join('\n'),
        code: 15,
      },
    });
    assert.deepEqual([gpus.map(({ index }) => index), problem], [[0, 2], null]);
  });

  it('says why there is none where the driver does not answer', async () => {
    const text =
      "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.";
    assert.deepEqual(await look({ list: { text, code: 9 } }), { gpus: [], driver: null, problem: text });
  });

  it('has nothing to say on a host without the program', async () => {
    const path = process.env.PATH;
    process.env.PATH = '/nonexistent';
    try {
      assert.deepEqual(await new NvidiaSmi().look(), { gpus: [], driver: null, problem: null });
    } finally {
      process.env.PATH = path;
    }
  });
});
