import type { Failure } from '../spec/errors.ts';
import type { Projection, ReplicaView } from '../spec/lifecycle.ts';

/** What a workflow says of itself in the Temporal UI. */

/** Temporal's API allows a summary 400 bytes; a character is at most three. */
const MAX_SUMMARY = 130;

/** The UI's frame is a line or two too low for what is in it. */
const SPACER = '\u00a0\n\n\u00a0';

/** A summary: the first line of the text, cut to what is allowed. */
export function summaryOf(text: string): string {
  const [line = ''] = text.split('\n', 1);
  return line.length > MAX_SUMMARY ? `${line.slice(0, MAX_SUMMARY - 1)}…` : line;
}

/** An endpoint's state in one line: with the cause where something is wrong. */
export function stateLine({ state, message, errorMessage }: Projection): string {
  return summaryOf(`${state}: ${errorMessage ?? message}`);
}

/** An endpoint's current details, as Markdown: state, counters, its replicas one by one, the cause and the log. */
export function endpointDetails(
  { state, message, errorMessage, readyReplica, targetReplica }: Projection,
  counters: { generation: number; revision: number },
  replicas: readonly ReplicaView[],
): string {
  const [cause, ...log] = errorMessage?.split('\n\n') ?? [];
  return [
    `**${state}**: ${message}`,
    `ready ${readyReplica} of ${targetReplica}, generation ${counters.generation}, revision ${counters.revision}`,
    replicas
      .map(
        (r) =>
          `* replica ${r.number}, revision ${r.revision}: ${r.stage}${r.hostId ? ` on ${r.hostId}` : ''}`,
      )
      .join('\n'),
    ...(cause ? [`> ${cause}`] : []),
    ...(log.length > 0 ? [`\`\`\`\n${log.join('\n\n')}\n\`\`\``] : []),
    SPACER,
  ].join('\n\n');
}

/** How a replica ended, as its workflow's result. */
export function outcome(
  end: { kind: 'stop'; reason: string; failure?: Failure } | { kind: 'failed'; failure: Failure },
): string {
  return end.kind === 'stop'
    ? `stopped: ${end.reason}`
    : `failed: ${end.failure.code}: ${end.failure.message}`;
}

/** Bytes as people read them. */
export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
