import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AccessLog } from './access-log.ts';
import type { ResponseCache } from './cache.ts';
import type { Wanted } from './entrance.ts';
import type { Ticket } from './load.ts';
import type { Metrics } from './metrics.ts';
import type { SeekContext } from './seek.ts';

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
export interface ExchangeInput extends Wanted {
  readonly context: ExchangeContext;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly requestId: string;
  readonly ticket: Ticket;
  /** For a web page that the endpoint lets in or not; null when it is no page, or the engine's matter. */
  readonly cors: readonly string[] | null;
  readonly replayBodyBytes: number;
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean;
}
