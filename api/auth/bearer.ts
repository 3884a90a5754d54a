/**
 * The token of an `Authorization: Bearer <token>` header; null when there is none. The scheme is matched in any case
 * (RFC 9110 §11.1).
 */
export function bearerToken(header: string | undefined): string | null {
  const match = /^Bearer +(\S+) *$/i.exec(header ?? '');
  return match?.[1] ?? null;
}
