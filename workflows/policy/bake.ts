import type { Answers, BakeSettings } from '../../spec/lifecycle.ts';

/** Answers and the errors among them. */
export type Counts = Pick<Answers, 'answers' | 'errors'>;

/** One replica's counters at one gateway, as they are read. */
export interface Sample extends Counts {
  gatewayId: string;
  replicaId: string;
  revision: number;
}

/** What has been counted since the watch began, by gateway and replica. Plain JSON. */
export type Tally = Readonly<Record<string, Counts & { revision: number; seen: Counts }>>;

/**
 * Adds what counters have grown by since they were last read; null is the first look. A counter that fell began anew, because
 * its gateway or its replica did. One of a replica of `trial` counts from its beginning, as the whole life of a new
 * revision is looked at; of other replicas only what comes from now on.
 */
export function tally(before: Tally | null, samples: readonly Sample[], trial: number): Tally {
  const next: Record<string, Tally[string]> = { ...before };
  for (const { gatewayId, replicaId, revision, answers, errors } of samples) {
    const key = `${gatewayId}/${replicaId}`;
    const known = next[key];
    const seen = { answers, errors };
    const fromZero = revision === trial || before !== null;
    const base = known ? (answers < known.seen.answers ? ZERO : known.seen) : fromZero ? ZERO : seen;
    next[key] = {
      revision,
      seen,
      answers: (known?.answers ?? 0) + answers - base.answers,
      errors: (known?.errors ?? 0) + Math.max(0, errors - base.errors),
    };
  }
  return next;
}

const ZERO: Counts = { answers: 0, errors: 0 };

/** What replicas of the revision on trial answered, and what all others did meanwhile. */
export function split(counted: Tally, trial: number): { trial: Counts; others: Counts } {
  const sum = (rows: Tally[string][]) => ({
    answers: rows.reduce((total, row) => total + row.answers, 0),
    errors: rows.reduce((total, row) => total + row.errors, 0),
  });
  const rows = Object.values(counted);
  return {
    trial: sum(rows.filter((row) => row.revision === trial)),
    others: sum(rows.filter((row) => row.revision !== trial)),
  };
}

/** Fewer errors than this prove nothing, whatever their share. */
const MIN_ERRORS = 3;
/** A dependency that fails for everybody is no fault of the new revision. */
const TIMES_THE_OTHERS = 2;

/**
 * What to think of a new revision by now; null: look on. Bad as soon as its share of errors is above what is allowed beyond
 * doubt: `maxErrorPercent`, or twice what the others had meanwhile if that is more. Good once the time is over, or it has
 * given enough answers, and no such thing is known; also when nobody asked it, for it has answered an inference before.
 * @param sinceMs when it began to serve
 */
export function judge(
  counts: { trial: Counts; others: Counts },
  settings: BakeSettings,
  sinceMs: number,
  now: number,
): 'good' | 'bad' | null {
  const { trial, others } = counts;
  const allowed = Math.max(settings.maxErrorPercent / 100, TIMES_THE_OTHERS * atLeast(others));
  if (trial.errors >= MIN_ERRORS && atLeast(trial) > allowed) return 'bad';
  const over = now - sinceMs >= settings.seconds * 1000 || trial.answers >= settings.requests;
  return over ? 'good' : null;
}

/** 99 % of samples are no further from the truth; looking every second would be wrong too often with less. */
const Z = 2.58;

/** What the share of errors is at least (lower end of Wilson's score interval); 0 without answers. */
export function atLeast({ answers, errors }: Counts): number {
  if (answers === 0) return 0;
  // A replica may have broken off an answer that was counted as good by another look.
  const p = Math.min(1, errors / answers);
  const z2 = Z * Z;
  const middle = p + z2 / (2 * answers);
  const half = Z * Math.sqrt((p * (1 - p)) / answers + z2 / (4 * answers * answers));
  return Math.max(0, (middle - half) / (1 + z2 / answers));
}

/** The same in words. */
export function errorsOf({ answers, errors }: Counts): string {
  return `${errors} of ${answers} requests with errors (5xx or a broken connection)`;
}
