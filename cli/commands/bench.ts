import { readdirSync } from 'node:fs';
import { CliError } from '../errors.ts';

const FOLDER = new URL('../../bench/', import.meta.url);

/** Runs `bench/<name>.ts`; lists what there is when no name, or an unknown one, is given. @throws CliError */
export async function bench(name: string | undefined): Promise<void> {
  const names = readdirSync(FOLDER)
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.slice(0, -'.ts'.length));
  if (name && names.includes(name)) {
    await import(new URL(`${name}.ts`, FOLDER).href);
    return;
  }
  const list = names.length ? names.join(', ') : 'none yet';
  throw new CliError(name ? `no benchmark is called '${name}': ${list}` : `which benchmark? ${list}`);
}
