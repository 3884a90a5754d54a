import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AccessLog } from './access-log.ts';
import type { ResponseCache } from './cache.ts';
import type { Pass } from './limits.ts';
import type { Ticket } from './load.ts';
import type { Account } from './meter.ts';
import type { Metrics } from './metrics.ts';
import type { SeekContext } from './seek.ts';
import type { Endpoint } from './snapshot.ts';

/** What all requests of this process share. */
export interface ExchangeContext extends SeekContext {
  readonly metrics: Metrics;
  readonly cache: ResponseCache;
  /** Requests are spans. */
  readonly tracing: boolean;
  readonly accessLog: AccessLog;
  /** How long a client's connection may be silent before it is looked at. */
  readonly slowClientMs: number;
  /** The process takes no new connections: each one has its last answer now. */
  leaving(): boolean;
}

/** One request that may go to its endpoint. */
export interface ExchangeInput {
  readonly context: ExchangeContext;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly endpoint: Endpoint;
  /** Path and query for the engine. */
  readonly path: string;
  /** What stood before it, where the engine does not see it; '' when the endpoint has a host of its own. */
  readonly prefix: string;
  readonly requestId: string;
  readonly ticket: Ticket;
  /** Of the endpoint and the caller's token. */
  readonly account: Account;
  /** For a web page that the endpoint lets in or not; null when it is no page, or the engine's matter. */
  readonly cors: readonly string[] | null;
  /** Null when the endpoint has no limits. */
  readonly pass: Pass | null;
  readonly holdMs: number;
  readonly replayBodyBytes: number;
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean;
}
