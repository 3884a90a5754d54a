import { chmod, copyFile, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exec, onPath } from '../../cli/services/exec.ts';

/**
 * The program of the official registry (`distribution`): from PATH (`docker-registry`, Debian's name, or `registry`), the
 * cache, or Debian's package, which is unpacked and not installed, because installing it would start a service.
 * @throws CliError when there is none and no Debian archive to take it from
 */
export async function registryBinary(
  cacheDir: string,
  signal: AbortSignal,
): Promise<{ path: string; source: string }> {
  for (const name of ['docker-registry', 'registry']) {
    const found = await onPath(name);
    if (found) return { path: found, source: 'PATH' };
  }
  const cached = join(cacheDir, 'docker-registry');
  if (await onPath(cached)) return { path: cached, source: 'cache' };
  const work = await mkdtemp(join(tmpdir(), 'registry-'));
  try {
    await exec('apt-get', ['download', 'docker-registry'], { cwd: work, signal });
    const deb = (await readdir(work)).find((name) => name.endsWith('.deb')) ?? '';
    await exec('dpkg-deb', ['--extract', deb, 'unpacked'], { cwd: work, signal });
    // Copied next to its place and then renamed: another run may be doing the same.
    const own = `${cached}.${process.pid}`;
    await copyFile(join(work, 'unpacked/usr/bin/docker-registry'), own);
    await chmod(own, 0o755);
    await rename(own, cached);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return { path: cached, source: "Debian's package" };
}
