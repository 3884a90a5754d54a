import { connect } from 'node:net';

/** Whether a TCP connection to the origin comes about within the time, in milliseconds; it is closed at once. */
export async function takesConnections(origin: URL, withinMs: number): Promise<boolean> {
  const host = origin.hostname.replace(/^\[|\]$/g, '');
  const socket = connect({ host, port: Number(origin.port) || 80 });
  return await new Promise<boolean>((resolve) => {
    socket.setTimeout(withinMs, () => resolve(false));
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  }).finally(() => socket.destroy());
}
