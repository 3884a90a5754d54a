import type { ServerResponse } from 'node:http';
import type { AccessEntry } from './access-log.ts';
import { BufferedBody, type RequestBody } from './body.ts';
import { BodyWriter } from './body-writer.ts';
import { type CachedAnswer, mayKeep, Recording } from './cache.ts';
import { withCors } from './cors.ts';
import { ANSWERS, type Refusal, refuse } from './errors.ts';
import type { ExchangeInput } from './exchange-input.ts';
import { OWN_HEADERS, responseHeaders } from './headers.ts';
import { AnswerEnds, NO_TOKENS, type TokensUsed } from './tokens-used.ts';
import type { ResponseHead } from './upstream/response-parser.ts';
import { errorEvent, WaitingStream, wantsEventStream } from './waiting.ts';

/** Of an answer that is no event stream, where one had begun already: more of it says no more. */
const MAX_INSTEAD_BYTES = 64 * 1024;

/** What the client of one request gets: an engine's answer, one that was kept, or a refusal; and what is to be counted of it. */
export class Answer {
  readonly #in: ExchangeInput;
  /** Of a monotonic clock, in milliseconds. */
  readonly #beganAt: number;
  /** Of a session that begins with it. */
  cookie: string | null = null;
  /** What it is kept under; null unless the endpoint's answers are kept. */
  cacheKey: string | null = null;
  /** Of the answer, or of the refusal; 0 as long as there is none. */
  status = 0;
  /** An engine, or the cache, has answered: there is no second answer. */
  begun = false;
  #refused = false;
  #brokenOff = false;
  #bytes = 0;
  #bodyBegan = false;
  #firstByteAt = 0;
  /** What the client reads is a stream of events. */
  #eventStream = false;
  /** Null unless it may say how many tokens it cost. */
  #ends: AnswerEnds | null = null;
  #recording: Recording | null = null;
  /** Null until an engine's head was written. */
  #body: BodyWriter | null = null;
  /** The last part of the body, which goes out with the end. */
  #last: Buffer | null = null;
  /** Null unless the caller is told that it waits. */
  #waiting: WaitingStream | null = null;
  /** What the engine answered instead of an event stream, after the head of one had gone out. */
  #instead: Buffer[] | null = null;

  constructor(input: ExchangeInput, beganAt: number) {
    this.#in = input;
    this.#beganAt = beganAt;
  }

  /** The request waits for a replica: an event stream's caller who has asked for it is told so, with `status`. */
  wait(body: RequestBody | null, status: () => string): void {
    if (this.#waiting === null) {
      const { req, res, endpoint, requestId, cors, pass } = this.#in;
      const wish = req.headers['x-hold-comments'];
      const asked = wish === undefined ? endpoint.policy?.holdComments === true : wish !== '0';
      const buffer = body instanceof BufferedBody ? body.buffer : null;
      if (!asked || !wantsEventStream(req.headers.accept, buffer)) return;
      const headers = ['x-request-id', requestId, ...(pass?.headers ?? []), ...(cors ?? [])];
      this.#waiting = new WaitingStream(res, headers, status);
    }
    this.#waiting.start();
  }

  stopWaiting(): void {
    this.#waiting?.stop();
  }

  /** A kept answer, given once more. */
  repeat({ status, headers, body }: CachedAnswer): void {
    const { res, requestId } = this.#in;
    const now = performance.now();
    this.#bodyBegan = true;
    this.#firstByteAt = now;
    this.#bytes = body.length;
    this.#begin(status, now);
    this.#lastOnes(res);
    res.writeHead(status, this.#head(['x-request-id', requestId, 'x-cache', 'HIT', ...headers], null));
    res.end(body);
  }

  /** An engine answers, to a request that had been held for so long; null: it was not. */
  start(head: ResponseHead, replicaId: string, heldMs: number | null): void {
    const { res, requestId } = this.#in;
    const { status, statusMessage, contentType, encoded } = head;
    const events = contentType.startsWith('text/event-stream');
    if (this.#waiting?.began) {
      if (status !== 200 || encoded || !events) this.#instead = [];
    } else {
      const engines = responseHeaders(head.headers, requestId, replicaId);
      if (this.cacheKey !== null) {
        if (mayKeep(head)) this.#recording = new Recording(this.cacheKey, status, engines.slice(OWN_HEADERS));
        engines.push('x-cache', 'MISS');
      }
      const out = this.#head(engines, heldMs);
      this.#lastOnes(res);
      if (statusMessage) res.writeHead(status, statusMessage, out);
      else res.writeHead(status, out);
      this.#body = new BodyWriter(res);
    }
    this.#begin(status, performance.now());
    if (!encoded) {
      this.#eventStream = events;
      if (status < 300 && (events || contentType.startsWith('application/json')))
        this.#ends = new AnswerEnds();
    }
    // What the client reads is one, whatever came from the engine.
    if (this.#waiting?.began) this.#eventStream = true;
    // With a body in the same packet the head goes out together with it; otherwise now, before the first chunk.
    process.nextTick(flushHead, this);
  }

  #begin(status: number, now: number): void {
    this.status = status;
    this.begun = true;
    this.#in.account.answered(now);
    this.#in.context.metrics.answered(status, now - this.#beganAt);
  }

  /** The process takes no new connections: this answer is the last one of its own. */
  #lastOnes(res: ServerResponse): void {
    if (this.#in.context.leaving()) res.shouldKeepAlive = false;
  }

  /** The engine's headers with what the gateway has to say. */
  #head(out: string[], heldMs: number | null): string[] {
    const { pass, cors } = this.#in;
    if (pass) out.push(...pass.headers);
    if (this.cookie !== null) out.push('set-cookie', this.cookie);
    if (heldMs !== null) out.push('x-held-ms', String(heldMs));
    return cors ? withCors(out, cors) : out;
  }

  /** Sends the head of a response whose body has not begun. */
  flushHead(): void {
    const { res } = this.#in;
    if (!this.#bodyBegan && !res.writableEnded && !res.destroyed) res.flushHeaders();
  }

  get bodyBegan(): boolean {
    return this.#bodyBegan;
  }

  /** False when the client is to take what it has before there is more. `last`: nothing but the end follows, and at once. */
  write(chunk: Buffer, last: boolean): boolean {
    if (!this.#bodyBegan) {
      this.#bodyBegan = true;
      this.#firstByteAt = performance.now();
    }
    this.#bytes += chunk.length;
    this.#ends?.note(chunk);
    this.#recording?.note(chunk);
    if (this.#body !== null) {
      if (!last) return this.#body.write(chunk);
      this.#last = chunk;
      return true;
    }
    if (this.#instead === null) return this.#in.res.write(chunk);
    if (this.#bytes <= MAX_INSTEAD_BYTES) this.#instead.push(chunk);
    return true;
  }

  end(): void {
    const { res, context } = this.#in;
    this.#recording?.keep(context.cache, performance.now());
    if (this.#instead !== null) res.write(this.#insteadEvent(this.#instead));
    if (this.#body !== null) this.#body.end(this.#last);
    else res.end();
  }

  /** What the engine says instead of a stream, as an event. */
  #insteadEvent(chunks: readonly Buffer[]): string {
    const text = Buffer.concat(chunks).toString();
    return errorEvent({ message: text, type: 'upstream_error', code: this.status });
  }

  /** It ends in the middle: the client must not take what it has for the whole. */
  breakOff(message: string): void {
    const { context, res } = this.#in;
    this.#brokenOff = true;
    context.metrics.brokeOff();
    if (!this.#eventStream) {
      res.destroy();
      return;
    }
    const event = Buffer.from(errorEvent({ message, type: 'upstream_error', code: 502 }));
    if (this.#body !== null) this.#body.write(event, () => res.destroy());
    else res.write(event, () => res.destroy());
  }

  /** No engine answers. `clientGone`: nobody reads why. */
  refuse(refusal: Refusal, clientGone: boolean): void {
    const { context, res, requestId, cors } = this.#in;
    this.stopWaiting();
    this.#refused = true;
    context.metrics.refused(refusal.kind);
    if (clientGone) return;
    const { status, code } = ANSWERS[refusal.kind];
    this.status = status;
    if (this.#waiting?.began) res.end(errorEvent({ message: refusal.message, type: code, code: status }));
    else refuse(res, requestId, refusal, cors);
  }

  /** Bytes of the body so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** From the request to the first byte of the body, in milliseconds; null when there was none. */
  get firstByteMs(): number | null {
    return this.#bodyBegan ? this.#firstByteAt - this.#beganAt : null;
  }

  /** None when it does not say. */
  get tokensUsed(): TokensUsed {
    return this.#ends?.tokensUsed() ?? NO_TOKENS;
  }

  get outcome(): AccessEntry['outcome'] {
    if (this.#brokenOff) return 'brokenOff';
    if (!this.#in.res.writableFinished) return 'clientLeft';
    return this.#refused ? 'refused' : 'complete';
  }
}

function flushHead(answer: Answer): void {
  answer.flushHead();
}
