import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { dockerClient } from '../../cli/services/docker.ts';
import { importImage } from '../../cli/services/engine-image.ts';
import { docker } from './installation.ts';
import { skip } from './needs.ts';

/** The image of each stand-in; the words in the references are those that the engines' rules look at. */
export const STAND_INS = {
  tgi: {
    image: 'stand-in.invalid/huggingface/text-generation-inference:3.3.5-intel-cpu',
    entrypoint: '["/server", "tgi"]',
  },
  tei: {
    image: 'stand-in.invalid/huggingface/text-embeddings-inference:cpu-1.9',
    entrypoint: '["/server", "tei"]',
  },
  infinity: {
    image: 'stand-in.invalid/michaelf34/infinity:0.0.77-cpu',
    entrypoint: '["/server", "infinity"]',
  },
  // Without an entrypoint, as the real ones; `python3` in it is the stand-in.
  sglang: { image: 'stand-in.invalid/lmsysorg/sglang:v0.5.21-cpu', entrypoint: null },
} as const;

/**
 * Puts the stand-ins for engines whose images cannot be had into the Docker engine: this machine's own Node.js, its shell
 * and the script. Skips the suite where the machine is no Linux. `remove` takes them away again.
 */
export async function importStandIns(context: Mocha.Context): Promise<{ remove(): void }> {
  if (process.platform !== 'linux')
    skip(context, 'the stand-ins are made of the programs of a Linux machine');
  const work = mkdtempSync(join(tmpdir(), 'stand-in-'));
  try {
    const root = join(work, 'root');
    for (const program of [process.execPath, '/bin/sh'])
      place(root, program, program === '/bin/sh' ? program : '/node');
    cpSync(join(import.meta.dirname, 'stand-in'), join(root, 'stand-in'), { recursive: true });
    script(join(root, 'server'), 'exec /node /stand-in/server.mjs "$@"');
    script(join(root, 'bin', 'python3'), 'exec /node /stand-in/server.mjs sglang "$@"');
    mkdirSync(join(root, 'tmp'));
    const tar = join(work, 'root.tar');
    execFileSync('tar', ['-C', root, '-cf', tar, '.']);
    const client = dockerClient(process.env.DOCKER_HOST ?? '');
    for (const { image, entrypoint } of Object.values(STAND_INS))
      await importImage({ docker: client, image }, tar, [
        'ENV PATH=/bin',
        ...(entrypoint ? [`ENTRYPOINT ${entrypoint}`] : ['CMD ["/bin/sh"]']),
      ]);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return { remove: () => docker('rmi', '--force', ...Object.values(STAND_INS).map(({ image }) => image)) };
}

/** A program and the libraries it loads, at their places below `root`. */
function place(root: string, program: string, to: string): void {
  const linked = execFileSync('ldd', [program], { encoding: 'utf8' });
  for (const [library] of linked.matchAll(/\/\S+(?= \(0x)/g)) copy(library, join(root, library));
  copy(program, join(root, to));
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { dereference: true });
}

function script(file: string, line: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${line}\n`, { mode: 0o755 });
}
