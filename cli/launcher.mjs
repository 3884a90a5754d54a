// Plain JavaScript without dependencies: it runs before anything is installed.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');
const OLDEST_NODE = [20, 19];

/** Ends the process with one clear line when this Node is too old (the TypeScript loader and mocha need 20.19). */
export function requireNode(version = process.versions.node) {
  const [major, minor] = version.split('.').map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return;
  console.error(
    `Node.js ${OLDEST_NODE.join('.')} or newer is needed, this is ${version}: https://nodejs.org/`,
  );
  process.exit(1);
}

/** Runs `npm ci` when what is installed is not what the lock file names; ends the process when that fails. */
export async function ensureDependencies() {
  const lock = join(ROOT, 'package-lock.json');
  const wanted = createHash('sha256').update(readFileSync(lock)).digest('hex');
  const stamp = join(ROOT, 'node_modules', '.installed-lock');
  if (isInstalled(lock, stamp, wanted)) return;
  const started = performance.now();
  console.error('… dependencies: npm ci');
  const code = await run('npm', ['ci', '--no-audit', '--no-fund']);
  if (code !== 0) {
    console.error(`✖ dependencies: npm ci failed in ${ROOT} (exit code ${code}); its own lines are above`);
    process.exit(1);
  }
  writeFileSync(stamp, wanted);
  console.error(`✔ dependencies [${((performance.now() - started) / 1000).toFixed(1)}s]`);
}

/** By content where we installed, because switching branches touches files; by age where somebody ran npm by hand. */
function isInstalled(lock, stamp, wanted) {
  if (existsSync(stamp)) return readFileSync(stamp, 'utf8') === wanted;
  const installed = join(ROOT, 'node_modules', '.package-lock.json');
  return existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs;
}

/** Registers the TypeScript loader in this process and imports a module of this project. */
export async function importTypeScript(file) {
  // The loader's cache would be left behind in the system's temporary folder.
  process.env.TSX_DISABLE_CACHE = '1';
  const { register } = await import('tsx/esm/api');
  register();
  return import(new URL(file, import.meta.url).href);
}

/** @returns {Promise<number>} the exit code; -1 when the program cannot be run at all */
function run(file, args) {
  return new Promise((done) => {
    const child = spawn(file, args, { cwd: ROOT, stdio: ['ignore', 2, 2] });
    child.once('error', () => done(-1));
    child.once('exit', (code) => done(code ?? -1));
  });
}
