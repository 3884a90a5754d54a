import { STATUS_CODES } from 'node:http';
import { causeIn, complaintIn } from '../../engines/failures.ts';
import type { Failure } from '../../spec/errors.ts';
import type { HttpProbe, ReplicaPlan } from '../../spec/lifecycle.ts';
import type { ProbeOutcome } from './probe.ts';

type Known = Pick<ReplicaPlan, 'container' | 'readiness'>;

/** A server that was given all its time and never became healthy: what it did instead, and where to look. */
export function notHealthy({ container, readiness }: Known, last: ProbeOutcome | null): Failure {
  const seconds = Math.round(readiness.deadlineMs / 1000);
  return {
    code: 'NOT_HEALTHY',
    message: `${readiness.engine} runs, but was not ready after ${seconds} s: ${seen(container.port, readiness.health, last)}`,
  };
}

/** A replica that was in service and stopped answering. */
export function stoppedAnswering(
  { container, readiness }: Known,
  last: ProbeOutcome,
  silentMs: number,
): Failure {
  const seconds = Math.round(silentMs / 1000);
  return {
    code: 'NOT_HEALTHY',
    message: `${readiness.engine} runs, but has not been healthy for ${seconds} s: ${seen(container.port, readiness.health, last)}`,
  };
}

function seen(port: number, health: HttpProbe | null, last: ProbeOutcome | null): string {
  const route = health ? `its health route ${health.path}` : `port ${port}`;
  switch (last?.kind) {
    case 'status':
      return `${route} answered ${last.status} ${STATUS_CODES[last.status] ?? ''}${said(last.said)}${
        last.status === 404 ? '. Check healthRoute in model.image' : ''
      }`;
    case 'timeout':
      return `${route} accepts connections, but gives no answer within ${last.timeoutMs / 1000} s`;
    case 'refused':
      return `nothing listens on port ${port} of the container. Check the port in model.image, and that the server listens on 0.0.0.0`;
    default:
      return `${route} was never asked`;
  }
}

/** Whether the server failed over a question, and did not only refuse it (501: a kind of question it does not take). */
export function brokeDown(outcome: ProbeOutcome): boolean {
  return outcome.kind !== 'status' || (outcome.status >= 500 && outcome.status !== 501);
}

/**
 * A server that calls itself healthy and cannot do its work. Where it broke down over the question, its log has the cause:
 * a known one gives the failure its code, of another the engine's own sentence is repeated.
 */
export function inferenceFailed(
  { readiness }: Known,
  path: string,
  outcome: ProbeOutcome,
  log: string,
): Failure {
  return cannotInfer(readiness.engine, `a first inference (${path})`, outcome, log);
}

/** The same of one that was in service. */
export function stoppedInferring(
  { readiness }: Known,
  path: string,
  outcome: ProbeOutcome,
  silentMs: number,
  log: string,
): Failure {
  const seconds = Math.round(silentMs / 1000);
  const which = `for ${seconds} s no inference succeeded: ${path}`;
  return cannotInfer(readiness.engine, which, outcome, log);
}

function cannotInfer(engine: string, which: string, outcome: ProbeOutcome, log: string): Failure {
  const what =
    outcome.kind === 'status'
      ? `answered ${outcome.status}${said(outcome.said)}`
      : outcome.kind === 'timeout'
        ? `gave no answer within ${outcome.timeoutMs / 1000} s`
        : 'closed the connection';
  const message = `${engine} says it is healthy, but ${which} ${what}`;
  if (!brokeDown(outcome)) return { code: 'INFERENCE_FAILED', message };
  const cause = causeIn(engine, log);
  if (cause) return { code: cause.code, message: `${message}. ${cause.message}` };
  const complaint = complaintIn(log);
  return {
    code: 'INFERENCE_FAILED',
    message: complaint ? `${message}. Its log says: ${complaint}` : message,
  };
}

function said(text: string): string {
  return text ? `: "${text}"` : '';
}
