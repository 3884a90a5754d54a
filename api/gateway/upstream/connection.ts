import { connect, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { type ResponseHead, ResponseParser, type ResponseSink } from './response-parser.ts';

/**
 * Why a call has no answer, or no whole one. `noConnection`: none came about. `lost`: the connection ended too early.
 * `garbled`: what came is no HTTP. `closed`: no more calls are taken, and it was not sent. `ended`: by us, on its way.
 */
export interface CallFailure {
  readonly kind: 'noConnection' | 'lost' | 'garbled' | 'closed' | 'ended';
  /** The connection had carried a request before: the engine may have closed it without having read this one. */
  readonly reused: boolean;
  /** Something came from the engine. */
  readonly received: boolean;
  readonly message: string;
}

/** Is told what becomes of a call: a head, parts of the body, and one end or failure. Nothing after `Call.abort`. */
export interface CallHandler {
  onHead(head: ResponseHead): void;
  /** False: no more until `Call.resume`. The bytes are the handler's to keep. `last`: `onEnd` follows at once. */
  onData(bytes: Buffer, last: boolean): boolean;
  onEnd(): void;
  onFailure(failure: CallFailure): void;
}

export interface CallRequest {
  /** As `requestHead` writes it. */
  readonly head: string;
  readonly body: Buffer | Readable | null;
  /** The body goes out in chunks, as the head says. */
  readonly chunked: boolean;
  /** Its method is HEAD. */
  readonly bodiless: boolean;
}

/** One request on its way to a replica. */
export class Call {
  readonly request: CallRequest;
  readonly handler: CallHandler;
  /** Null before there is one, and when the call is over. */
  connection: Connection | null = null;
  aborted = false;

  constructor(request: CallRequest, handler: CallHandler) {
    this.request = request;
    this.handler = handler;
  }

  /** Ends it; the engine sees its connection closed. The handler is told nothing more. */
  abort(): void {
    this.aborted = true;
    this.connection?.abort();
  }

  /** After `onData` has said that it had enough. */
  resume(): void {
    this.connection?.resume();
  }
}

/** Who a connection belongs to. */
export interface Owner {
  /** It can carry another call. */
  idle(connection: Connection): void;
  /** It is no more. */
  gone(connection: Connection): void;
  /** It ended before the call had been sent. */
  again(call: Call): void;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

const CONNECT_TIMEOUT_MS = 5000;
const TCP_KEEP_ALIVE_MS = 60_000;
/** Up to this size a body is sent in one piece with its head. */
const ONE_PIECE_BYTES = 16 * 1024;
/**
 * All connections read into it, one after the other: what is to be kept is copied out before the next one reads. A buffer
 * made for every read costs more than the copy.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024);

/** One connection to a replica. It carries one call at a time: a queue before the engine's own would hide its load. */
export class Connection implements ResponseSink {
  /** Since when it has been idle, on the clock of its owner. */
  idleSince = 0;
  readonly #owner: Owner;
  readonly #socket: Socket;
  readonly #parser = new ResponseParser(this);
  #call: Call | null;
  #connected = false;
  /** The present call has been sent. */
  #sent = false;
  #calls = 0;
  #received = false;
  #paused = false;
  /** A body that goes out as it comes in. */
  #sending: Readable | null = null;
  #error: Error | null = null;

  /** Opens it for a call. */
  constructor(owner: Owner, { host, port }: Address, call: Call) {
    this.#owner = owner;
    this.#call = call;
    call.connection = this;
    this.#socket = connect({
      host,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
      onread: { buffer: READ_BUFFER, callback: (length) => this.#onRead(length) },
    });
    const timer = setTimeout(() => {
      this.#error = new Error(`no connection within ${CONNECT_TIMEOUT_MS / 1000} s`);
      this.#socket.destroy();
    }, CONNECT_TIMEOUT_MS);
    this.#socket
      .on('connect', () => {
        clearTimeout(timer);
        this.#connected = true;
        this.#send();
      })
      .on('error', (error) => {
        this.#error ??= error;
      })
      .on('end', () => {
        this.#parser.finish();
        this.#socket.destroy();
      })
      .on('close', () => {
        clearTimeout(timer);
        this.#onClose();
      });
  }

  /** How long the engine keeps it when it is idle, in seconds; null when it has not said. */
  get keepAliveSeconds(): number | null {
    return this.#parser.keepAliveSeconds;
  }

  /**
   * Sends a call over the idle connection: after everything that has come in by now was read, so that an end, or an answer
   * that nobody asked for, is noticed before (GHSA-35p6-xmwp-9g52).
   */
  carry(call: Call): void {
    this.#call = call;
    this.#sent = false;
    this.#received = false;
    call.connection = this;
    if (toSend.push(this) === 1) setImmediate(sendSome);
  }

  /** Ends what it carries. */
  abort(): void {
    this.#over();
    this.#socket.destroy();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.resume();
  }

  /** Ends it, and what it carries with it. */
  destroy(): void {
    this.#fail('ended', 'the gateway has ended it');
    this.#socket.destroy();
  }

  /** Only for `sendSome`. */
  sendNow(): void {
    if (this.#call !== null && !this.#sent && !this.#socket.destroyed) this.#send();
  }

  #send(): void {
    const call = this.#call;
    if (call === null) return;
    const { head, body, bodiless } = call.request;
    this.#sent = true;
    this.#calls += 1;
    this.#parser.begin(bodiless);
    if (body === null) this.#socket.write(head, 'latin1');
    else if (Buffer.isBuffer(body)) this.#writeWhole(head, body);
    else this.#stream(head, body, call.request.chunked);
  }

  #writeWhole(head: string, body: Buffer): void {
    if (body.length <= ONE_PIECE_BYTES) {
      const piece = Buffer.allocUnsafe(head.length + body.length);
      piece.write(head, 'latin1');
      body.copy(piece, head.length);
      this.#socket.write(piece);
      return;
    }
    this.#socket.cork();
    this.#socket.write(head, 'latin1');
    this.#socket.write(body);
    this.#socket.uncork();
  }

  #stream(head: string, body: Readable, chunked: boolean): void {
    const socket = this.#socket;
    this.#sending = body;
    socket.write(head, 'latin1');
    body.on('data', (bytes: Buffer) => {
      if (this.#sending !== body || bytes.length === 0) return;
      socket.cork();
      if (chunked) socket.write(`${bytes.length.toString(16)}\r\n`, 'latin1');
      let more = socket.write(bytes);
      if (chunked) more = socket.write('\r\n', 'latin1');
      socket.uncork();
      if (more) return;
      body.pause();
      socket.once('drain', () => body.resume());
    });
    body.on('end', () => {
      if (this.#sending !== body) return;
      this.#sending = null;
      if (chunked) socket.write('0\r\n\r\n', 'latin1');
    });
    // Whoever made it knows, and aborts the call.
    body.on('error', () => undefined);
  }

  #onRead(length: number): boolean {
    if (this.#call === null || !this.#sent) {
      // Nobody has asked for it.
      this.#socket.destroy();
      return false;
    }
    this.#received = true;
    const error = this.#parser.execute(READ_BUFFER, length);
    if (error === null) return true;
    this.#fail('garbled', error);
    this.#socket.destroy();
    return false;
  }

  onHead(head: ResponseHead): void {
    this.#call?.handler.onHead(head);
  }

  onBody(bytes: Buffer, last: boolean): void {
    if (this.#call === null || this.#call.handler.onData(bytes, last)) return;
    this.#paused = true;
    this.#socket.pause();
  }

  onEnd(): void {
    const call = this.#call;
    if (call === null) return;
    // An engine may answer before it has read everything; what it would take the rest for cannot be known. Nor what
    // follows the head of an answer to HEAD: some engines send the body all the same.
    const whole = this.#sending === null && this.#socket.writableLength === 0;
    const reusable = this.#parser.keepAlive && whole && !call.request.bodiless && !this.#socket.destroyed;
    this.#over();
    if (reusable) {
      this.resume();
      this.#owner.idle(this);
    } else this.#socket.destroy();
    call.handler.onEnd();
  }

  #onClose(): void {
    this.#owner.gone(this);
    const call = this.#call;
    if (call === null) return;
    const reason = this.#error?.message ?? 'the engine closed it';
    if (!this.#connected) this.#fail('noConnection', reason);
    else if (this.#sent) this.#fail('lost', reason);
    else {
      this.#over();
      this.#owner.again(call);
    }
  }

  #fail(kind: CallFailure['kind'], message: string): void {
    const call = this.#call;
    if (call === null) return;
    this.#over();
    call.handler.onFailure({ kind, reused: this.#calls > 1, received: this.#received, message });
  }

  /** Nobody is to be told anything more. */
  #over(): void {
    if (this.#call !== null) this.#call.connection = null;
    this.#call = null;
    this.#sending?.destroy();
    this.#sending = null;
  }
}

/** Idle connections that were given a call in this turn of the event loop, and those that one turn has no place for. */
const toSend: Connection[] = [];
/** Of many calls at once the first ones have their answers before the last ones are sent. */
const SENT_PER_TURN = 16;

function sendSome(): void {
  for (const connection of toSend.splice(0, SENT_PER_TURN)) connection.sendNow();
  if (toSend.length > 0) setImmediate(sendSome);
}
