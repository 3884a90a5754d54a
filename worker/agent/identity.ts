import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { JWK } from 'jose';
import { newHostKey } from '../../activities/seal.ts';
import { ConfigError } from '../../runtime/config.ts';

/** Who this host is, for as long as its folder lives: tasks and secrets for it find it again after a restart. */
export interface Identity {
  hostId: string;
  publicKey: JWK;
  privateKey: JWK;
}

/**
 * Reads `identity.json`, or makes it (mode 0600) on first use.
 * @throws ConfigError when the file is there and cannot be used
 */
export async function loadIdentity(agentDir: string): Promise<Identity> {
  await mkdir(agentDir, { recursive: true });
  const file = join(agentDir, 'identity.json');
  const known = await read(file);
  if (known) return known;
  await make(file);
  return loadIdentity(agentDir);
}

async function read(file: string): Promise<Identity | null> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new ConfigError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  try {
    const identity = JSON.parse(text) as Partial<Identity>;
    const { hostId, publicKey, privateKey } = identity;
    if (hostId && publicKey && privateKey) return { hostId, publicKey, privateKey };
  } catch {
    // Said below.
  }
  throw new ConfigError(`${file}: is damaged. Remove it to join as a new host`);
}

/** Written aside and then given its name, so that a kill leaves no half of it, and of two agents one is first. */
async function make(file: string): Promise<void> {
  const identity: Identity = { hostId: randomUUID().slice(0, 13).replace('-', ''), ...(await newHostKey()) };
  const temporary = `${file}.${randomUUID()}.new`;
  const handle = await open(temporary, 'wx', 0o600);
  try {
    await handle.writeFile(JSON.stringify(identity));
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    await link(temporary, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}
