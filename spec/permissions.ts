/**
 * What a token may do. The first three are the public API's own words; a refused call names the one that is missing.
 */
export const PERMISSIONS = [
  'inference.endpoints.read',
  'inference.endpoints.write',
  'inference.endpoints.infer.write',
  /** Bring a Docker host into this installation. */
  'hosts.join',
] as const;
export type Permission = (typeof PERMISSIONS)[number];

/** Named sets of permissions, as `endpoints token create --role` takes them. */
export const ROLES = {
  write: ['inference.endpoints.read', 'inference.endpoints.write', 'inference.endpoints.infer.write'],
  read: ['inference.endpoints.read'],
  infer: ['inference.endpoints.infer.write'],
  agent: ['hosts.join'],
} as const satisfies Record<string, readonly Permission[]>;
export type Role = keyof typeof ROLES;

/** Who acts: a user through one token, with the namespaces the user belongs to. */
export interface Principal {
  userId: string;
  userName: string;
  tokenId: string;
  permissions: ReadonlySet<Permission>;
  /** Namespace → the user's role in it. */
  memberships: ReadonlyMap<string, 'admin' | 'write' | 'read'>;
}
