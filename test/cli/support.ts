import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '../support/ports.ts';

export const ROOT = join(import.meta.dirname, '../..');

/** A data directory of its own with ports of its own: the environment of one installation under test. */
export async function testInstallation(): Promise<{
  env: NodeJS.ProcessEnv;
  dataDir: string;
  remove(): void;
}> {
  const dataDir = mkdtempSync(join(tmpdir(), 'installation-'));
  const names = [
    'API_PORT',
    'GATEWAY_PORT',
    'TEMPORAL_PORT',
    'TEMPORAL_UI_PORT',
    'POSTGRES_PORT',
    'MIRROR_PORT',
  ];
  const ports = await Promise.all(names.map(async (name) => [name, String(await freePort())]));
  const { DATABASE_URL, TEMPORAL_ADDRESS, HF_ENDPOINT, ...inherited } = process.env;
  const env = { ...inherited, ...Object.fromEntries(ports), ENDPOINTS_DATA_DIR: dataDir };
  return { env, dataDir, remove: () => rmSync(dataDir, { recursive: true, force: true }) };
}

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the `endpoints` command to its end. */
export async function endpoints(args: string[], env: NodeJS.ProcessEnv): Promise<Outcome> {
  const child = spawn(process.execPath, ['cli/bin.mjs', ...args], { cwd: ROOT, env });
  const texts = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    texts.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    texts.stderr += text;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, ...texts };
}

/** Runs a fixture and collects the JSON lines it prints. */
export function fixture(
  name: string,
  env: NodeJS.ProcessEnv,
): { child: ChildProcess; lines: Record<string, unknown>[] } {
  const file = join(import.meta.dirname, 'fixtures', name);
  const child = spawn(process.execPath, ['--import', 'tsx', file], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: Record<string, unknown>[] = [];
  if (child.stdout) {
    createInterface({ input: child.stdout }).on('line', (line) => {
      lines.push(JSON.parse(line) as Record<string, unknown>);
    });
  }
  return { child, lines };
}

export function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}
