import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { AccessLog } from './access-log.ts';
import { Answer } from './answer.ts';
import { Attempts } from './attempts.ts';
import { type BodyLimit, BufferedBody, declaredLength, type RequestBody, takeBody } from './body.ts';
import { type CachedAnswer, cacheKey } from './cache.ts';
import { Deadlines } from './deadlines.ts';
import { bodyTooLarge, type Refusal } from './errors.ts';
import type { ExchangeInput } from './exchange-input.ts';
import { AUTHORIZATION_AT, requestHeaders } from './headers.ts';
import { minuteOf } from './meter.ts';
import { promptKeys, sessionKeys } from './prefix.ts';
import type { Target } from './replicas.ts';
import { Seek, type Seeker } from './seek.ts';
import { sessionOf } from './session.ts';
import { endpointKey } from './snapshot.ts';
import { RequestSpan, withTraceparent } from './trace.ts';
import type { Call, CallFailure, CallHandler } from './upstream/connection.ts';
import { type BodyLength, requestHead } from './upstream/request-head.ts';
import type { ResponseHead } from './upstream/response-parser.ts';

/**
 * One request and its one response. Attempts follow each other, never overlap, and end with the first byte of a
 * response; from there on there is no second engine.
 */
export class Exchange implements CallHandler, Seeker {
  readonly #in: ExchangeInput;
  readonly #seek: Seek;
  readonly #beganAt = performance.now();
  readonly #answer: Answer;
  readonly #attempts = new Attempts();
  #body: RequestBody | null = null;
  #headers: string[] | null = null;
  #target: Target | null = null;
  /** The present attempt. */
  #call: Call | null = null;
  /** Null unless the site traces requests. */
  #span: RequestSpan | null = null;
  /** Null unless the endpoint has time limits. */
  #deadlines: Deadlines | null = null;
  #clientGone = false;
  /** The request has its answer, and what becomes of the attempt means nothing. */
  #abandoned = false;

  constructor(input: ExchangeInput) {
    this.#in = input;
    this.#answer = new Answer(input, this.#beganAt);
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
    if (kept === null) {
      this.#seek.next();
      return;
    }
    // No engine is asked, and none is woken.
    this.#in.ticket.close();
    this.#deadlines?.end();
    this.#answer.repeat(kept);
  }

  #joinSession(): void {
    const { req, endpoint } = this.#in;
    const settings = endpoint.policy?.session ?? null;
    if (settings === null) return;
    const { id, cookie } = sessionOf(req, settings);
    this.#seek.session = id;
    this.#answer.cookie = cookie;
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
    this.#call?.abort();
    if (!res.headersSent) res.shouldKeepAlive = false;
    if (this.#answer.begun) this.#breakOff(refusal.message);
    else this.refused(refusal);
  }

  #fromCache(body: RequestBody): CachedAnswer | null {
    const { req, endpoint, path, context } = this.#in;
    if (!(body instanceof BufferedBody)) return null;
    const key = cacheKey(req, endpoint, path, body.buffer);
    this.#answer.cacheKey = key;
    return key === null ? null : context.cache.get(key, performance.now());
  }

  /** Waits for a replica now. */
  held(): void {
    this.#span?.event('held');
    this.#answer.wait(this.#body, () => this.#seek.status);
  }

  found(target: Target): void {
    const { req, path, prefix, requestId, ticket } = this.#in;
    const body = this.#body;
    if (body === null || this.#clientGone) return;
    this.#answer.stopWaiting();
    this.#deadlines?.asked();
    if (this.#headers === null) {
      this.#headers = requestHeaders(req, requestId, prefix);
      const traceparent = this.#span?.traceparent;
      if (traceparent) this.#headers = withTraceparent(this.#headers, traceparent);
    }
    this.#headers[AUTHORIZATION_AT] = target.authorization;
    const method = req.method ?? 'GET';
    const sent = body.open();
    const length = lengthOf(req, body, sent);
    const head = requestHead({ method, path, headers: this.#headers }, target.origin.host, length);
    if (head === null) {
      this.refused({
        kind: 'badRequest',
        message:
          'the request cannot be passed on: there is a character in its path or in a header that HTTP/1.1 does not allow there',
      });
      return;
    }
    this.#target = target;
    ticket.send(target);
    this.#span?.event('sent');
    this.#call = target.connections.send(
      { head, body: sent, chunked: length === 'chunked', bodiless: method === 'HEAD' },
      this,
    );
  }

  onHead(head: ResponseHead): void {
    const { context, ticket } = this.#in;
    this.#answer.start(head, this.#target?.replicaId ?? '', this.#seek.heldMs);
    ticket.answer();
    if (this.#target) context.replicas.note(this.#target, isFault(head.status));
    this.#span?.event('answered');
  }

  onData(bytes: Buffer, last: boolean): boolean {
    if (!this.#answer.bodyBegan) this.#span?.event('first byte');
    this.#deadlines?.part();
    if (this.#answer.write(bytes, last)) return true;
    this.#in.res.once('drain', () => this.#call?.resume());
    return false;
  }

  onEnd(): void {
    this.#deadlines?.end();
    this.#call = null;
    this.#in.ticket.close();
    this.#answer.end();
  }

  onFailure(failure: CallFailure): void {
    const target = this.#target;
    this.#call = null;
    this.#in.ticket.leave();
    if (this.#clientGone || this.#abandoned || target === null) return;
    this.#deadlines?.leave();
    if (this.#answer.begun) {
      if (!isFault(this.#answer.status)) this.#in.context.replicas.brokeOff(target);
      this.#breakOff('the replica ended before its answer did');
    } else this.#tryAgain(target, failure);
  }

  #tryAgain(target: Target, failure: CallFailure): void {
    const { replicas, metrics } = this.#in.context;
    const { kind, reused, received } = failure;
    const replayable = this.#body?.replayable === true;
    const verdict = this.#attempts.failed({ kind, reused, received, replayable });
    if (verdict === 'giveUp') {
      replicas.note(target, true);
      this.refused(this.#failed(failure));
      return;
    }
    metrics.retried();
    if (verdict === 'repeat') this.#seek.next(target);
    else this.#seek.afterConnectFailure(target);
  }

  #failed({ kind, message }: CallFailure): Refusal {
    const { endpoint } = this.#in;
    const what =
      kind === 'garbled'
        ? `gave an answer that cannot be passed on: ${message}`
        : 'closed the connection without an answer';
    return {
      kind: 'upstreamFailed',
      message: `replica ${this.#target?.replicaId} of endpoint ${endpointKey(endpoint)} ${what}; try again, and see the endpoint's logs if it happens again`,
      state: endpoint.state,
    };
  }

  refused(refusal: Refusal): void {
    this.#in.ticket.close();
    this.#deadlines?.end();
    this.#answer.refuse(refusal, this.#clientGone);
  }

  #breakOff(message: string): void {
    this.#in.ticket.close();
    this.#deadlines?.end();
    this.#answer.breakOff(message);
  }

  #onClose(): void {
    if (this.#in.context.accessLog.on) this.#log(this.#in.context.accessLog);
    this.#meter();
    if (this.#in.res.writableFinished) return;
    this.#clientGone = true;
    this.#answer.stopWaiting();
    this.#deadlines?.end();
    this.#in.ticket.close();
    this.#seek.cancel();
    this.#call?.abort();
  }

  #meter(): void {
    const { account, pass } = this.#in;
    const { status, begun, firstByteMs, bytes, tokensUsed } = this.#answer;
    const now = performance.now();
    const end = {
      status,
      replicaId: this.#target?.replicaId ?? '',
      answered: begun,
      ms: now - this.#beganAt,
      firstByteMs,
      requestBytes: this.#body?.received ?? 0,
      responseBytes: bytes,
      promptTokens: tokensUsed.prompt,
      completionTokens: tokensUsed.completion,
    };
    account.end(now, minuteOf(Date.now()), end);
    this.#span?.end(end);
    pass?.end(tokensUsed.prompt + tokensUsed.completion);
  }

  #log(accessLog: AccessLog): void {
    const { req, res, endpoint, requestId } = this.#in;
    accessLog.note({
      method: req.method ?? '',
      endpoint: endpointKey(endpoint),
      status: res.headersSent ? res.statusCode : null,
      ms: performance.now() - this.#beganAt,
      bytes: this.#answer.bytes,
      replica: this.#target?.replicaId ?? null,
      requestId,
      outcome: this.#answer.outcome,
    });
  }
}

/** What the request has in common with others; null when nothing can be said. A session outweighs the prompt. */
function routingKeys(req: IncomingMessage, body: RequestBody): readonly number[] | null {
  const session = req.headers['x-session-id'];
  if (typeof session === 'string' && session !== '') return sessionKeys(session);
  const json = req.method === 'POST' && req.headers['content-type']?.startsWith('application/json') === true;
  return json && body instanceof BufferedBody && body.buffer ? promptKeys(body.buffer) : null;
}

/** Where the body ends that is sent to the engine. */
function lengthOf(req: IncomingMessage, body: RequestBody, sent: Buffer | Readable | null): BodyLength {
  if (sent === null) return null;
  return body.replayable ? body.bytes : (declaredLength(req) ?? 'chunked');
}

/** A status that speaks against the replica; 501 only says that this engine has no such route. */
function isFault(status: number): boolean {
  return status >= 500 && status !== 501;
}
