import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LABELS } from '../../spec/names.ts';
import { docker, type Installation } from './installation.ts';

/** Processes that belong to an installation: told by its data directory in their environment or their command line. */
export function processesOf({ dir }: Pick<Installation, 'dir'>): { pid: number; command: string }[] {
  const dataDir = join(dir, 'data');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
        const own = command.includes(dataDir) || environment.includes(dataDir);
        return own && command ? [{ pid: Number(pid), command }] : [];
      } catch {
        return []; // ended meanwhile, or another user's
      }
    });
}

/** A process and all it started, such as PostgreSQL with the process of each connection. */
export function familyOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // Ended meanwhile.
    }
  }
  const family = [pid];
  for (const member of family)
    for (const [child, parent] of parents) if (parent === member) family.push(child);
  return family;
}

/** Networks of an installation on its Docker engine. */
export function networksOf({ installationId }: Pick<Installation, 'installationId'>): string[] {
  return docker('network', 'ls', '--filter', `label=${LABELS.installation}=${installationId}`, '--quiet');
}
