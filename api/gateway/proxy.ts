import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import type { AccessEntry, AccessLog } from './access-log.ts';
import { type BodyLimit, BufferedBody, declaredLength, type RequestBody, takeBody } from './body.ts';
import { type CachedAnswer, cacheKey, mayKeep, Recording, type ResponseCache } from './cache.ts';
import type { Connection } from './connections.ts';
import { withCors } from './cors.ts';
import { Deadlines } from './deadlines.ts';
import { ANSWERS, bodyTooLarge, type Refusal, refuse } from './errors.ts';
import { AUTHORIZATION_AT, OWN_HEADERS, requestHeaders, responseHeaders } from './headers.ts';
import type { Pass } from './limits.ts';
import type { Ticket } from './load.ts';
import { type Account, minuteOf } from './meter.ts';
import type { Metrics } from './metrics.ts';
import { promptKeys, sessionKeys } from './prefix.ts';
import type { Target } from './replicas.ts';
import { Seek, type SeekContext, type Seeker } from './seek.ts';
import { sessionOf } from './session.ts';
import { type Endpoint, endpointKey } from './snapshot.ts';
import { AnswerEnds } from './tokens-used.ts';
import { RequestSpan, withTraceparent } from './trace.ts';
import { errorEvent, WaitingStream, wantsEventStream } from './waiting.ts';

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

/** Of an answer that is no event stream, where one had begun already: more of it says no more. */
const MAX_INSTEAD_BYTES = 64 * 1024;
/** Attempts after the first one, for a request that may have reached an engine. */
const MAX_RETRIES = 2;
/** Replicas that may end under one request before its caller is told. */
const MAX_DEATHS = 1;

/**
 * One request and its one response. It is its own undici handler: attempts follow each other, never overlap, and end
 * with the first byte of a response; from there on there is no second engine.
 */
export class Exchange implements Dispatcher.DispatchHandler, Seeker {
  readonly #in: ExchangeInput;
  readonly #seek: Seek;
  readonly #beganAt = performance.now();
  #body: RequestBody | null = null;
  #headers: string[] | null = null;
  /** Of a session that begins with this request. */
  #cookie: string | null = null;
  #target: Target | null = null;
  #connection: Connection | null = null;
  #controller: Dispatcher.DispatchController | null = null;
  #retries = 0;
  #deaths = 0;
  /** Of the present attempt: */
  #started = false;
  #reusedConnection = false;
  #received = false;
  /** Of the exchange: */
  #answered = false;
  #refused = false;
  #brokenOff = false;
  #bytes = 0;
  #bodyBegan = false;
  #firstByteAt = 0;
  /** Null unless the answer may say how many tokens it cost. */
  #ends: AnswerEnds | null = null;
  /** Null unless the site traces requests. */
  #span: RequestSpan | null = null;
  /** Null unless the endpoint's answers are kept. */
  #cacheKey: string | null = null;
  #recording: Recording | null = null;
  /** Null unless the endpoint has time limits. */
  #deadlines: Deadlines | null = null;
  /** Null unless the caller is told that it waits. */
  #waiting: WaitingStream | null = null;
  /** What the engine answered instead of an event stream, after the head of one had gone out. */
  #instead: Buffer[] | null = null;
  /** Of the answer, or of the refusal; 0 as long as there is none. */
  #status = 0;
  #eventStream = false;
  #clientGone = false;
  /** The request has its answer, and what becomes of the attempt means nothing. */
  #abandoned = false;

  constructor(input: ExchangeInput) {
    this.#in = input;
    input.account.begin(this.#beganAt);
    if (input.context.tracing)
      this.#span = new RequestSpan(input.req, endpointKey(input.endpoint), input.path, input.requestId);
    this.#seek = new Seek(
      input.context,
      input.endpoint,
      input.holdMs,
      this,
      input.endpoint.policy?.cache !== true,
    );
  }

  begin(): void {
    const { req, res, endpoint, replayBodyBytes, expectsContinue } = this.#in;
    const timeouts = endpoint.policy?.timeouts;
    if (timeouts) this.#deadlines = new Deadlines(timeouts, (what) => this.#onLate(what));
    res.on('close', () => this.#onClose());
    res.on('timeout', () => this.#onIdle());
    if (expectsContinue) res.writeContinue();
    // Functions made here stay without a name: the loader's naming costs more than calling them.
    takeBody(req, replayBodyBytes, (body) => this.#took(body), this.#bodyLimit());
  }

  #took(body: RequestBody): void {
    this.#body = body;
    this.#seek.bytes = body.bytes;
    this.#joinSession();
    const { req, endpoint } = this.#in;
    if (endpoint.loadBalancer === 'prefix') this.#seek.keys = routingKeys(req, body);
    if (this.#clientGone) return;
    const kept = endpoint.policy?.cache ? this.#fromCache(body) : null;
    if (kept) this.#answerAgain(kept);
    else this.#seek.next();
  }

  #joinSession(): void {
    const { req, endpoint } = this.#in;
    const settings = endpoint.policy?.session ?? null;
    if (settings === null) return;
    const { id, cookie } = sessionOf(req, settings);
    this.#seek.session = id;
    this.#cookie = cookie;
  }

  #bodyLimit(): BodyLimit | null {
    const { endpoint } = this.#in;
    const bytes = endpoint.policy?.maxBodyBytes ?? null;
    return bytes === null ? null : { bytes, exceeded: () => this.#abandon(bodyTooLarge(endpoint, bytes)) };
  }

  /**
   * Nothing has gone over the client's connection for a while. That may be an engine that thinks; but a client that
   * sends its body no further, or takes no more of the answer, holds a place that others could have.
   */
  #onIdle(): void {
    const { req, res, endpoint, context } = this.#in;
    if (!req.complete && req.readableFlowing === true)
      this.#abandon({
        kind: 'tooSlow',
        message: `no more of the request's body came for ${context.slowClientMs / 1000} s: endpoint ${endpointKey(endpoint)} did not get it; send it again`,
      });
    else if (res.writableNeedDrain) res.destroy();
    else req.socket.setTimeout(context.slowClientMs);
  }

  #onLate(what: string): void {
    const { endpoint } = this.#in;
    this.#abandon({
      kind: 'timedOut',
      message: `endpoint ${endpointKey(endpoint)} gave up on the request: ${what}; ask for less, or have its owner allow more time`,
      state: endpoint.state,
    });
  }

  /** Enough of this request, whatever becomes of the attempt that is under way. */
  #abandon(refusal: Refusal): void {
    const { res } = this.#in;
    this.#seek.cancel();
    this.#abandoned = true;
    this.#controller?.abort(new Error(refusal.kind));
    if (!res.headersSent) res.shouldKeepAlive = false;
    if (this.#answered) this.#breakOff(refusal.message);
    else this.refused(refusal);
  }

  #fromCache(body: RequestBody): CachedAnswer | null {
    const { req, endpoint, path, context } = this.#in;
    if (!(body instanceof BufferedBody)) return null;
    this.#cacheKey = cacheKey(req, endpoint, path, body.buffer);
    return this.#cacheKey === null ? null : context.cache.get(this.#cacheKey, performance.now());
  }

  /** No engine is asked, and none is woken. */
  #answerAgain({ status, headers, body }: CachedAnswer): void {
    const { res, requestId, ticket, account, context } = this.#in;
    const now = performance.now();
    this.#status = status;
    this.#answered = true;
    this.#bodyBegan = true;
    this.#firstByteAt = now;
    this.#bytes = body.length;
    account.answered(now);
    context.metrics.answered(status, now - this.#beganAt);
    ticket.close();
    this.#deadlines?.end();
    if (context.leaving()) res.shouldKeepAlive = false;
    res.writeHead(status, this.#head(['x-request-id', requestId, 'x-cache', 'HIT', ...headers]));
    res.end(body);
  }

  /** Waits for a replica now: an event stream's caller who has asked for it is told so. */
  held(): void {
    this.#span?.event('held');
    const { req, res, endpoint, requestId, cors } = this.#in;
    if (this.#waiting === null) {
      const wish = req.headers['x-hold-comments'];
      const asked = wish === undefined ? endpoint.policy?.holdComments === true : wish !== '0';
      const body = this.#body instanceof BufferedBody ? this.#body.buffer : null;
      if (!asked || !wantsEventStream(req.headers.accept, body)) return;
      const headers = ['x-request-id', requestId, ...(this.#in.pass?.headers ?? []), ...(cors ?? [])];
      this.#waiting = new WaitingStream(res, headers, () => this.#seek.status);
    }
    this.#waiting.start();
  }

  found(target: Target): void {
    const { req, path, prefix, requestId, ticket } = this.#in;
    const body = this.#body;
    if (body === null || this.#clientGone) return;
    this.#waiting?.stop();
    this.#deadlines?.asked();
    if (this.#headers === null) {
      this.#headers = requestHeaders(req, requestId, prefix);
      const traceparent = this.#span?.traceparent;
      if (traceparent) this.#headers = withTraceparent(this.#headers, traceparent);
      // undici states the length of a body in memory by itself.
      const length = body.replayable ? null : declaredLength(req);
      if (length !== null) this.#headers.push('content-length', String(length));
    }
    this.#headers[AUTHORIZATION_AT] = target.authorization;
    this.#target = target;
    this.#started = false;
    this.#received = false;
    ticket.send(target);
    this.#span?.event('sent');
    const method = (req.method ?? 'GET') as Dispatcher.HttpMethod;
    const connection = target.connections.take();
    this.#connection = connection;
    connection.client.dispatch({ method, path, headers: this.#headers, body: body.open() }, this);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    this.#started = true;
    const connection = this.#connection;
    if (connection !== null) this.#reusedConnection = ++connection.uses > 1;
    if (this.#clientGone || this.#abandoned) controller.abort(new Error('client left'));
  }

  /** First byte from the engine. */
  onResponseStarted(): void {
    this.#received = true;
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
    statusMessage?: string,
  ): void {
    if (status < 200) return;
    const { context, res, requestId, ticket } = this.#in;
    const raw = (controller.rawHeaders ?? []) as readonly (Buffer | string)[];
    const type = String(headers['content-type']);
    const encoded = headers['content-encoding'] !== undefined;
    this.#status = status;
    if (this.#waiting?.began) {
      if (status !== 200 || encoded || !type.startsWith('text/event-stream')) this.#instead = [];
    } else {
      const engines = responseHeaders(raw, requestId, this.#target?.replicaId ?? '');
      if (this.#cacheKey !== null && mayKeep(status, headers))
        this.#recording = new Recording(this.#cacheKey, status, engines.slice(OWN_HEADERS));
      if (this.#cacheKey !== null) engines.push('x-cache', 'MISS');
      const out = this.#head(engines);
      if (context.leaving()) res.shouldKeepAlive = false;
      if (statusMessage) res.writeHead(status, statusMessage, out);
      else res.writeHead(status, out);
    }
    this.#answered = true;
    ticket.answer();
    if (this.#target) context.replicas.note(this.#target, isFault(status));
    const now = performance.now();
    this.#span?.event('answered');
    this.#in.account.answered(now);
    context.metrics.answered(status, now - this.#beganAt);
    if (!encoded) {
      this.#eventStream = type.startsWith('text/event-stream');
      if (status < 300 && (this.#eventStream || type.startsWith('application/json')))
        this.#ends = new AnswerEnds();
    }
    // What the client reads is one, whatever came from the engine.
    if (this.#waiting?.began) this.#eventStream = true;
    // With a body in the same packet the head goes out together with it; otherwise now, before the first chunk.
    process.nextTick(flushHead, this);
  }

  /** The engine's headers with what the gateway has to say. */
  #head(out: string[]): string[] {
    const { pass, cors } = this.#in;
    if (pass) out.push(...pass.headers);
    if (this.#cookie !== null) out.push('set-cookie', this.#cookie);
    const heldMs = this.#seek.heldMs;
    if (heldMs !== null) out.push('x-held-ms', String(heldMs));
    return cors ? withCors(out, cors) : out;
  }

  /** Sends the head of a response whose body has not begun. */
  flushHead(): void {
    const { res } = this.#in;
    if (!this.#bodyBegan && !res.writableEnded && !res.destroyed) res.flushHeaders();
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const { res } = this.#in;
    if (!this.#bodyBegan) {
      this.#bodyBegan = true;
      this.#firstByteAt = performance.now();
      this.#span?.event('first byte');
    }
    this.#bytes += chunk.length;
    this.#ends?.note(chunk);
    this.#recording?.note(chunk);
    this.#deadlines?.part();
    if (this.#instead !== null) {
      if (this.#bytes <= MAX_INSTEAD_BYTES) this.#instead.push(chunk);
      return;
    }
    if (res.write(chunk)) return;
    controller.pause();
    res.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    this.#recording?.keep(this.#in.context.cache, performance.now());
    this.#deadlines?.end();
    if (this.#instead !== null) this.#in.res.write(this.#insteadEvent(this.#instead));
    this.#connection?.release();
    this.#connection = null;
    this.#in.ticket.close();
    this.#in.res.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const target = this.#target;
    this.#controller = null;
    this.#connection?.discard();
    this.#connection = null;
    this.#in.ticket.leave();
    if (this.#clientGone || this.#abandoned || target === null) return;
    this.#deadlines?.leave();
    const code = 'code' in error ? error.code : undefined;
    if (this.#answered) {
      if (!isFault(this.#status)) this.#in.context.replicas.brokeOff(target);
      this.#breakOff('the replica ended before its answer did');
    } else if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED')
      this.refused({ kind: 'badRequest', message: `the request cannot be passed on: ${error.message}` });
    else this.#tryAgain(target, code);
  }

  #tryAgain(target: Target, code: unknown): void {
    const { replicas, metrics } = this.#in.context;
    const verdict = this.#verdict(code);
    if (verdict === 'giveUp') {
      replicas.note(target, true);
      this.refused(this.#failed());
      return;
    }
    metrics.retried();
    if (verdict === 'repeat') this.#seek.next(target);
    else this.#seek.afterConnectFailure(target);
  }

  /**
   * What is right after an attempt that brought no byte of an answer. Without a connection the request did nothing: the
   * search for a replica goes on, and knows when to end (`elsewhere`). When the connections were closed under it, or the engine
   * closed a connection that had been idle and most likely never read the request, it is repeated. Otherwise the replica
   * died with it: that is tried elsewhere once, so that a dying replica costs no answer, and no more often, so that a
   * request which kills engines does not kill them all.
   */
  #verdict(code: unknown): 'repeat' | 'elsewhere' | 'giveUp' {
    const poolClosed = code === 'UND_ERR_CLOSED' || code === 'UND_ERR_DESTROYED';
    if (!this.#started && !poolClosed) return 'elsewhere';
    const harmless = !this.#started || this.#reusedConnection;
    const closedByEngine = code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
    if (this.#started && (!closedByEngine || this.#received || this.#body?.replayable !== true))
      return 'giveUp';
    if (harmless && this.#retries < MAX_RETRIES) {
      this.#retries += 1;
      return 'repeat';
    }
    this.#deaths += 1;
    return this.#deaths <= MAX_DEATHS ? 'elsewhere' : 'giveUp';
  }

  #failed(): Refusal {
    const { endpoint } = this.#in;
    return {
      kind: 'upstreamFailed',
      message: `replica ${this.#target?.replicaId} of endpoint ${endpointKey(endpoint)} closed the connection without an answer; try again, and see the endpoint's logs if it happens again`,
      state: endpoint.state,
    };
  }

  refused(refusal: Refusal): void {
    const { context, res, requestId, ticket } = this.#in;
    ticket.close();
    this.#waiting?.stop();
    this.#deadlines?.end();
    this.#refused = true;
    context.metrics.refused(refusal.kind);
    if (this.#clientGone) return;
    const { status, code } = ANSWERS[refusal.kind];
    this.#status = status;
    if (this.#waiting?.began) res.end(errorEvent({ message: refusal.message, type: code, code: status }));
    else refuse(res, requestId, refusal, this.#in.cors);
  }

  /** What the engine says instead of a stream, as an event. */
  #insteadEvent(chunks: readonly Buffer[]): string {
    const text = Buffer.concat(chunks).toString();
    return errorEvent({ message: text, type: 'upstream_error', code: this.#status });
  }

  /** The engine broke off in the middle: the client must not take what it has for the whole. */
  #breakOff(message: string): void {
    const { context, res, ticket } = this.#in;
    ticket.close();
    this.#deadlines?.end();
    this.#brokenOff = true;
    context.metrics.brokeOff();
    if (!this.#eventStream) {
      res.destroy();
      return;
    }
    res.write(errorEvent({ message, type: 'upstream_error', code: 502 }), () => res.destroy());
  }

  #onClose(): void {
    if (this.#in.context.accessLog.on) this.#log(this.#in.context.accessLog);
    this.#meter();
    if (this.#in.res.writableFinished) return;
    this.#clientGone = true;
    this.#waiting?.stop();
    this.#deadlines?.end();
    this.#in.ticket.close();
    this.#seek.cancel();
    this.#controller?.abort(new Error('client left'));
  }

  #meter(): void {
    const { account, pass } = this.#in;
    const now = performance.now();
    const tokens = this.#ends?.tokensUsed();
    const promptTokens = tokens?.prompt ?? 0;
    const completionTokens = tokens?.completion ?? 0;
    const end = {
      status: this.#status,
      replicaId: this.#target?.replicaId ?? '',
      answered: this.#answered,
      ms: now - this.#beganAt,
      firstByteMs: this.#bodyBegan ? this.#firstByteAt - this.#beganAt : null,
      requestBytes: this.#body?.received ?? 0,
      responseBytes: this.#bytes,
      promptTokens,
      completionTokens,
    };
    account.end(now, minuteOf(Date.now()), end);
    this.#span?.end(end);
    pass?.end(promptTokens + completionTokens);
  }

  #log(accessLog: AccessLog): void {
    const { req, res, endpoint, requestId } = this.#in;
    accessLog.note({
      method: req.method ?? '',
      endpoint: endpointKey(endpoint),
      status: res.headersSent ? res.statusCode : null,
      ms: performance.now() - this.#beganAt,
      bytes: this.#bytes,
      replica: this.#target?.replicaId ?? null,
      requestId,
      outcome: this.#outcome(),
    });
  }

  #outcome(): AccessEntry['outcome'] {
    if (this.#brokenOff) return 'brokenOff';
    if (!this.#in.res.writableFinished) return 'clientLeft';
    return this.#refused ? 'refused' : 'complete';
  }
}

/** What the request has in common with others; null when nothing can be said. A session outweighs the prompt. */
function routingKeys(req: IncomingMessage, body: RequestBody): readonly number[] | null {
  const session = req.headers['x-session-id'];
  if (typeof session === 'string' && session !== '') return sessionKeys(session);
  const json = req.method === 'POST' && req.headers['content-type']?.startsWith('application/json') === true;
  return json && body instanceof BufferedBody && body.buffer ? promptKeys(body.buffer) : null;
}

/** A status that speaks against the replica; 501 only says that this engine has no such route. */
function isFault(status: number): boolean {
  return status >= 500 && status !== 501;
}

function flushHead(exchange: Exchange): void {
  exchange.flushHead();
}
