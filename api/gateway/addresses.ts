import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

/** A set of addresses from `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32` and the like (checked before: `addressBlock`). */
export function addressSet(blocks: readonly string[]): BlockList {
  const set = new BlockList();
  for (const block of blocks) {
    const [address = '', prefix] = block.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    if (prefix === undefined) set.addAddress(address, family);
    else set.addSubnet(address, Number(prefix), family);
  }
  return set;
}

export function hasAddress(set: BlockList, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && set.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/**
 * Whose request it is: the peer, or behind a proxy that the site trusts the last address of `X-Forwarded-For` that no
 * trusted proxy has. What stands before that one is the client's own claim. '' when there is no address.
 */
export function clientAddress(req: IncomingMessage, trusted: BlockList | null): string {
  const peer = plain(req.socket.remoteAddress ?? '');
  if (trusted === null || !hasAddress(trusted, peer)) return peer;
  const trail = String(req.headers['x-forwarded-for'] ?? '').split(',');
  for (let i = trail.length - 1; i >= 0; i--) {
    const address = plain((trail[i] as string).trim());
    if (isIP(address) === 0) return peer;
    if (i === 0 || !hasAddress(trusted, address)) return address;
  }
  return peer;
}

/** A dual-stack socket names IPv4 peers as `::ffff:192.0.2.7`. */
function plain(address: string): string {
  return address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address;
}
