import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { SessionSettings } from '../../spec/gateway.ts';
import { type Candidate, excessOf, FIRST, pick, rank } from './balance.ts';

/**
 * Session affinity: the requests of a session go to one replica. Which one follows from the session's id and the
 * replicas' alone (rendezvous hashing), so all gateways agree without a word, nothing is remembered, and a replica that
 * comes or goes moves only the sessions it gets or had.
 */

/** What a request says about its session; both null when it says nothing and is to be told nothing. */
export interface Session {
  readonly id: string | null;
  /** `Set-Cookie` of a session that begins with this request. */
  readonly cookie: string | null;
}

const NONE: Session = { id: null, cookie: null };

/** The session of a request: by the header where it has one, else by the cookie, else a new one where cookies are on. */
export function sessionOf(
  req: IncomingMessage,
  { header, cookie }: SessionSettings,
  newId: () => string = randomUUID,
): Session {
  const named = header ? req.headers[header.toLowerCase()] : undefined;
  if (typeof named === 'string' && named !== '') return { id: named, cookie: null };
  if (!cookie) return NONE;
  const known = cookieOf(req.headers.cookie, cookie);
  if (known) return { id: known, cookie: null };
  const id = newId();
  const secure = req.headers['x-forwarded-proto'] === 'https' || 'encrypted' in req.socket;
  return { id, cookie: `${cookie}=${id}; Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}` };
}

function cookieOf(header: string | undefined, name: string): string | null {
  for (const pair of header?.split(';') ?? []) {
    const at = pair.indexOf('=');
    if (at > 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim() || null;
  }
  return null;
}

/**
 * The session's replica, or the next in its order while that one is not to be had or much busier than the one that `pick`
 * would choose. Null when there is none.
 */
export function pickBySession<T extends Candidate & { readonly replicaId: string }>(
  targets: readonly T[],
  session: string,
  avoid: T | null,
  turn: number,
  now: number,
  random: (() => number) | null = null,
): T | null {
  const least = pick(targets, avoid, turn, now, random);
  if (least === null) return null;
  const seed = hash(session, OFFSET);
  let best: T | null = null;
  let bestScore = -1;
  for (const target of targets) {
    if (target === avoid || rank(target, now) !== FIRST) continue;
    if (excessOf(target, least) >= 1) continue;
    const score = hash(target.replicaId, seed);
    if (score <= bestScore) continue;
    best = target;
    bestScore = score;
  }
  return best ?? least;
}

const OFFSET = 0x811c9dc5;

/** FNV-1a, finished as Murmur3 does: without that, ids that differ in their last letter alone would keep their order. */
function hash(text: string, seed: number): number {
  let value = seed;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
