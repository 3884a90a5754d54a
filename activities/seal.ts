import { CompactEncrypt, compactDecrypt, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose';
import { z } from 'zod';
import type { SealedSecrets } from '../spec/lifecycle.ts';

/**
 * Secrets travel to a host through workflow histories, so they are encrypted to that host's key: only its agent can
 * open them. Elliptic-curve keys, because an RSA key adds a third of a kilobyte to every plan.
 */
const KEY_ALGORITHM = 'ECDH-ES+A256KW';
const CONTENT_ALGORITHM = 'A256GCM';

const secretsSchema = z.object({
  env: z.record(z.string(), z.string()),
  registry: z.object({ username: z.string(), password: z.string() }).nullable(),
  hubToken: z.string().nullable(),
  engineKey: z.string(),
});

/** A key pair of its own for one host; the private half never leaves it. */
export async function newHostKey(): Promise<{ publicKey: JWK; privateKey: JWK }> {
  const pair = await generateKeyPair(KEY_ALGORITHM, { crv: 'P-256', extractable: true });
  const [publicKey, privateKey] = await Promise.all([exportJWK(pair.publicKey), exportJWK(pair.privateKey)]);
  return { publicKey, privateKey };
}

/** Encrypts to a host's public key; the result is a compact JWE, safe to store and to log. */
export async function seal(publicKey: JWK, secrets: SealedSecrets): Promise<string> {
  const text = new TextEncoder().encode(JSON.stringify(secrets));
  return new CompactEncrypt(text)
    .setProtectedHeader({ alg: KEY_ALGORITHM, enc: CONTENT_ALGORITHM })
    .encrypt(await importJWK(publicKey, KEY_ALGORITHM));
}

/**
 * Opens what {@link seal} made.
 * @throws Error when it was sealed for another key or changed on the way; the message holds nothing of the content
 */
export async function unseal(privateKey: JWK, sealed: string): Promise<SealedSecrets> {
  const key = await importJWK(privateKey, KEY_ALGORITHM);
  const opened = await compactDecrypt(sealed, key, {
    keyManagementAlgorithms: [KEY_ALGORITHM],
    contentEncryptionAlgorithms: [CONTENT_ALGORITHM],
  }).catch(() => {
    throw new Error("the replica's secrets were not sealed for this host: start the replica anew");
  });
  return secretsSchema.parse(JSON.parse(new TextDecoder().decode(opened.plaintext)));
}
