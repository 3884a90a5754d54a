import type { IncomingMessage } from 'node:http';
import { ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';

/** What a span says at its end. */
export interface SpanEnd {
  /** 0 when the client left before there was one. */
  readonly status: number;
  readonly replicaId: string;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/**
 * One request, or WebSocket from its handshake to its end, as a span of whatever OpenTelemetry SDK the site has loaded; without one it is a span that nobody sees. Names
 * are those of the semantic conventions for HTTP servers and generative AI. Never a query or a header: they hold keys.
 */
export class RequestSpan {
  readonly #span: Span;

  constructor(req: IncomingMessage, endpoint: string, path: string, requestId: string) {
    const queryAt = path.indexOf('?');
    const attributes = {
      'http.request.method': req.method ?? '',
      'url.path': queryAt < 0 ? path : path.slice(0, queryAt),
      'inference.endpoint': endpoint,
      'inference.request_id': requestId,
    };
    const parent = callersSpan(req.headers.traceparent);
    this.#span = trace
      .getTracer('inference-endpoints-gateway')
      .startSpan(
        `${req.method} ${endpoint}`,
        { kind: SpanKind.SERVER, attributes },
        parent ? trace.setSpanContext(ROOT_CONTEXT, parent) : ROOT_CONTEXT,
      );
  }

  /** For the engine, so that its spans are children of this one; null where no SDK is loaded. */
  get traceparent(): string | null {
    const { traceId, spanId, traceFlags } = this.#span.spanContext();
    if (!trace.isSpanContextValid(this.#span.spanContext())) return null;
    return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
  }

  /** `held` (waits for a replica), `sent` (to one), `answered`, `first byte`. */
  event(name: string): void {
    this.#span.addEvent(name);
  }

  end(end: SpanEnd): void {
    this.#span.setAttributes({
      ...(end.status === 0 ? {} : { 'http.response.status_code': end.status }),
      ...(end.replicaId === '' ? {} : { 'inference.replica': end.replicaId }),
      'http.request.body.size': end.requestBytes,
      'http.response.body.size': end.responseBytes,
      'gen_ai.usage.input_tokens': end.promptTokens,
      'gen_ai.usage.output_tokens': end.completionTokens,
    });
    if (end.status >= 500) this.#span.setStatus({ code: SpanStatusCode.ERROR });
    this.#span.end();
  }
}

/** The span a caller names in `traceparent` (W3C Trace Context); null when it names none as it should. */
function callersSpan(traceparent: string | string[] | undefined) {
  const [, traceId, spanId, flags] =
    (typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent) : null) ?? [];
  if (!traceId || !spanId || !flags) return null;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED, isRemote: true };
}

/** Headers for the engine with this `traceparent` in the caller's place; `tracestate` stays. */
export function withTraceparent(headers: readonly string[], traceparent: string): string[] {
  const out: string[] = [];
  for (let i = 0; i < headers.length; i += 2)
    if ((headers[i] as string).toLowerCase() !== 'traceparent')
      out.push(headers[i] as string, headers[i + 1] as string);
  out.push('traceparent', traceparent);
  return out;
}
