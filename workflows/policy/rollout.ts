import type { Failure } from '../../spec/errors.ts';
import type { Desired } from '../../spec/lifecycle.ts';

/** A revision that was rolled back, until its owner writes again. */
export interface Rejection {
  revision: number;
  failure: Failure;
}

/** What the watch on a revision came to; without a failure it is good. */
export interface Verdict {
  revision: number;
  failure: Failure | null;
}

/** What an endpoint has learned of its revisions. */
interface Known {
  stable?: number | null | undefined;
  approved?: number | null | undefined;
  rejected?: Rejection | null | undefined;
}

/** Whether the wanted revision has to be watched before it replaces the stable one. */
export function isOnTrial(
  { revision, bake }: Pick<Desired, 'revision' | 'bake'>,
  { stable, approved, rejected }: Known,
): boolean {
  const another = stable != null && stable !== revision;
  return bake != null && another && approved !== revision && rejected?.revision !== revision;
}

/** What is known after a verdict; one on another revision than the wanted one says nothing any more. */
export function learn(
  { revision }: Pick<Desired, 'revision'>,
  verdict: Verdict | null,
): { approved: number } | { rejected: Rejection } | Record<never, never> {
  if (verdict?.revision !== revision) return {};
  return verdict.failure ? { rejected: { revision, failure: verdict.failure } } : { approved: revision };
}
