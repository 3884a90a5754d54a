import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { existsSync, linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;

/**
 * Encryption at rest: AES-256-GCM with a random nonce; the row it belongs to is bound in as associated data, so that a
 * ciphertext moved to another row does not open. Layout: nonce (12 bytes), tag (16), ciphertext.
 */
export class Vault {
  readonly #key: Buffer;

  constructor(key: Buffer) {
    if (key.length !== KEY_BYTES)
      throw new Error(`the secret key must be ${KEY_BYTES} bytes, not ${key.length}`);
    this.#key = key;
  }

  encrypt(value: unknown, context: string): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce).setAAD(Buffer.from(context));
    const body = Buffer.concat([cipher.update(JSON.stringify(value), 'utf8'), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), body]);
  }

  /** @throws Error when the key, the context or the data is not the one it was encrypted with. */
  decrypt<T>(sealed: Buffer, context: string): T {
    const decipher = createDecipheriv('aes-256-gcm', this.#key, sealed.subarray(0, NONCE_BYTES))
      .setAAD(Buffer.from(context))
      .setAuthTag(sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    const body = Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
    return JSON.parse(body.toString('utf8')) as T;
  }

  /** The key one replica's engine asks for: derived, so that a repeated step gives the same one. */
  engineKey(replicaId: string): string {
    return createHmac('sha256', this.#key).update(`engine:${replicaId}`).digest('base64url');
  }
}

/**
 * The vault of this installation: key from `ENDPOINTS_SECRET_KEY` (base64, 32 bytes), else from `file`, which is made
 * with mode 0600 on first use.
 */
export function openVault(file: string, env: NodeJS.ProcessEnv = process.env): Vault {
  if (env.ENDPOINTS_SECRET_KEY) return new Vault(Buffer.from(env.ENDPOINTS_SECRET_KEY, 'base64'));
  if (!existsSync(file)) {
    // Written aside and linked into place, so that two processes agree on one key and neither reads half of it.
    const aside = `${file}.${randomBytes(4).toString('hex')}`;
    writeFileSync(aside, randomBytes(KEY_BYTES).toString('base64'), { mode: 0o600, flush: true });
    try {
      linkSync(aside, file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      rmSync(aside);
    }
  }
  return new Vault(Buffer.from(readFileSync(file, 'utf8'), 'base64'));
}
