import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/** What the program answers to the list of GPUs, by the fields asked for, and to a call without arguments. */
export interface Recorded {
  /** With and without the MIG field; a string is printed with exit code 0. */
  list: string | { text: string; code: number };
  listWithoutMig?: string;
  plain?: string;
}

/** The head of the plain report, as drivers print it since R418. */
export const HEAD = (driver: string, cuda: string) =>
  `+-----------------------------------------------------------------------------------------+\n| NVIDIA-SMI ${driver}              Driver Version: ${driver}      CUDA Version: ${cuda}     |\n|-----------------------------------------+------------------------+----------------------+\n`;

/** Runs `work` with an `nvidia-smi` on PATH that answers as one was recorded to, in the documented form. */
export async function withNvidiaSmi<T>(recorded: Recorded, work: () => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'nvidia-'));
  const { list } = recorded;
  const told = typeof list === 'string' ? { text: list, code: 0 } : list;
  const print = (text: string, code = 0) => `cat <<'END'\n${text}\nEND\nexit ${code}`;
  const script = [
    '#!/bin/sh',
    'case "$*" in',
    `*mig.mode.current*) ${print(told.text, told.code)} ;;`,
    `*--query-gpu*) ${print(recorded.listWithoutMig ?? told.text, recorded.listWithoutMig ? 0 : told.code)} ;;`,
    `*) ${print(recorded.plain ?? '')} ;;`,
    'esac',
  ].join('\n');
  const file = join(dir, 'nvidia-smi');
  const path = process.env.PATH ?? '';
  try {
    await writeFile(file, script);
    await chmod(file, 0o755);
    process.env.PATH = `${dir}${delimiter}${path}`;
    return await work();
  } finally {
    process.env.PATH = path;
    await rm(dir, { recursive: true, force: true });
  }
}
