import { connect } from 'node:net';
import { Agent, request } from 'undici';
import type { HttpProbe } from '../../spec/lifecycle.ts';

/** What a question to an engine brought. */
export type ProbeOutcome =
  | { kind: 'ok' }
  /** An answer that is not 2xx; `said` is the engine's own sentence, possibly empty. */
  | { kind: 'status'; status: number; said: string }
  /** No answer: nobody listens, or the connection was closed. Normal while a server starts. */
  | { kind: 'refused' }
  | { kind: 'timeout'; timeoutMs: number };

/** A connection of its own for every question: a kept one may lead to a server that is gone, or hide one that is full. */
const dispatcher = new Agent({ pipelining: 0, headersTimeout: 0, bodyTimeout: 0 });
const MAX_BODY_BYTES = 65_536;
const MAX_SAID = 300;

/** Asks once. Throws only when `signal` is aborted. */
export async function ask(
  address: string,
  probe: HttpProbe,
  key: string | null,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  const timeout = AbortSignal.timeout(probe.timeoutMs);
  try {
    const response = await request(new URL(probe.path, address), {
      dispatcher,
      method: probe.method,
      signal: AbortSignal.any([signal, timeout]),
      headers: {
        ...(key ? { authorization: `Bearer ${key}` } : {}),
        ...(probe.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(probe.body === undefined ? {} : { body: JSON.stringify(probe.body) }),
    });
    const text = await firstBytes(response.body);
    const ok = response.statusCode >= 200 && response.statusCode < 300;
    return ok ? { kind: 'ok' } : { kind: 'status', status: response.statusCode, said: sentenceOf(text) };
  } catch (error) {
    if (signal.aborted) throw error;
    return timeout.aborted ? { kind: 'timeout', timeoutMs: probe.timeoutMs } : { kind: 'refused' };
  }
}

/**
 * Whether somebody listens. A published port always accepts, because Docker's own proxy does, and is closed again when
 * nobody is behind it; so a connection counts once it has stayed open for `holdMs`.
 */
export function listens(address: string, holdMs: number, signal: AbortSignal): Promise<boolean> {
  const { hostname, port } = new URL(address);
  return new Promise((resolve) => {
    const socket = connect({ host: hostname, port: Number(port), signal });
    const timer = setTimeout(() => end(true), holdMs);
    const end = (open: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(open && !socket.connecting);
    };
    socket.on('error', () => end(false));
    socket.on('close', () => end(false));
    // One that speaks first is there; reading also lets the closing be seen.
    socket.on('data', () => end(true));
  });
}

async function firstBytes(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= MAX_BODY_BYTES) break;
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The sentence inside an error body of any engine: `{error: {message}}`, `{error}`, `{message}`, `{detail}`, or text. */
export function sentenceOf(body: string): string {
  let found: unknown = body;
  try {
    const json: unknown = JSON.parse(body);
    found =
      pick(pick(json, 'error'), 'message') ??
      pick(json, 'error') ??
      pick(json, 'message') ??
      pick(json, 'detail');
  } catch {
    // Not JSON: the text itself.
  }
  const text = (typeof found === 'string' ? found : body).replace(/\s+/g, ' ').trim();
  return text.length > MAX_SAID ? `${text.slice(0, MAX_SAID)}…` : text;
}

function pick(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
