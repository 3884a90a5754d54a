import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { bundleWorkflowCode } from '@temporalio/worker';

const ROOT = resolve(import.meta.dirname, '..');

/** Bundles `workflows/` into one script. */
export async function bundleWorkflows(): Promise<string> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(ROOT, 'workflows', 'index.ts'),
    logger: {
      log: () => undefined,
      trace: () => undefined,
      debug: () => undefined,
      info: () => undefined,
      warn: console.warn,
      error: console.error,
    },
  });
  return code;
}

/**
 * The path of a bundle of today's workflow code below `dir`, made when there is none for exactly these sources and this
 * SDK: webpack then need not run at every start.
 */
export async function workflowBundle(dir: string): Promise<string> {
  const file = join(dir, `workflows-${sourceHash()}.js`);
  if (existsSync(file)) return file;
  mkdirSync(dir, { recursive: true });
  const code = await bundleWorkflows();
  const partial = `${file}.${process.pid}`;
  writeFileSync(partial, code);
  renameSync(partial, file);
  return file;
}

function sourceHash(): string {
  const hash = createHash('sha256');
  for (const folder of ['workflows', 'spec']) {
    for (const entry of readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).sort()) {
      if (entry.endsWith('.ts')) hash.update(entry).update(readFileSync(join(ROOT, folder, entry)));
    }
  }
  hash.update(readFileSync(join(ROOT, 'package-lock.json')));
  return hash.digest('hex').slice(0, 16);
}
