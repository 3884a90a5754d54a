import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { has, installMissing, type Started, startPinned } from './processes.ts';

/**
 * The programs between which a proxy is measured are in C, like `wrk`: with Node on either side, two thirds of the time to
 * the first event of 100 requests in one moment were theirs.
 */

export const UPSTREAM = 'upstream';
export const STREAMS = 'streams';

/** Translates both into the folder. */
function build(dir: string): void {
  installMissing({ cc: 'gcc libc6-dev' });
  if (!has('cc'))
    throw new Error('bench: no C compiler for what makes the load: apt-get install gcc libc6-dev');
  for (const name of [UPSTREAM, STREAMS])
    execFileSync('cc', ['-O2', '-Wall', '-o', join(dir, name), join(import.meta.dirname, `${name}.c`)]);
}

/** The engine behind the proxies, on all these ports of 127.0.0.1; both programs are in the folder then. @throws Error when there is no C compiler */
export function startUpstream(core: number, dir: string, ports: readonly number[]): Started {
  build(dir);
  return startPinned(core, join(dir, UPSTREAM), ports.map(String));
}
